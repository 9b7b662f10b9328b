package outlier

import (
	"math"
	"time"
)

// byFailurePercentage ejects hosts whose failures of the interval reach the threshold.
func (d *Detector) byFailurePercentage(now time.Time, volumes []Volume, random func() uint32) []Action {
	busy := enough(volumes, d.cfg.FailureMinVolume)
	if d.cfg.EnforcingFailure == 0 || len(busy) == 0 || uint32(len(busy)) < d.cfg.FailureMinHosts {
		return nil
	}
	var out []Action
	for _, v := range busy {
		if v.Failures*100 < uint64(d.cfg.FailureThreshold)*v.Requests || random() >= d.cfg.EnforcingFailure {
			continue
		}
		if a, ok := d.eject(now, v.Host, FailurePercentage); ok {
			out = append(out, a)
		}
	}
	return out
}

// bySuccessRate ejects hosts whose success rate lies further below the mean than the deviation allows.
func (d *Detector) bySuccessRate(now time.Time, volumes []Volume, random func() uint32) []Action {
	busy := enough(volumes, d.cfg.SuccessRateMinVolume)
	if d.cfg.EnforcingSuccessRate == 0 || len(busy) == 0 || uint32(len(busy)) < d.cfg.SuccessRateMinHosts {
		return nil
	}
	mean, deviation := spread(busy)
	threshold := mean - d.cfg.SuccessRateStdev*deviation
	var out []Action
	for _, v := range busy {
		if rate(v) >= threshold || random() >= d.cfg.EnforcingSuccessRate {
			continue
		}
		if a, ok := d.eject(now, v.Host, SuccessRate); ok {
			out = append(out, a)
		}
	}
	return out
}

func enough(volumes []Volume, least uint32) []Volume {
	var out []Volume
	for _, v := range volumes {
		if v.Requests > 0 && v.Requests >= uint64(least) {
			out = append(out, v)
		}
	}
	return out
}

func rate(v Volume) float64 { return 100 * float64(v.Requests-v.Failures) / float64(v.Requests) }

func spread(volumes []Volume) (mean, deviation float64) {
	for _, v := range volumes {
		mean += rate(v)
	}
	mean /= float64(len(volumes))
	for _, v := range volumes {
		deviation += (rate(v) - mean) * (rate(v) - mean)
	}
	return mean, math.Sqrt(deviation / float64(len(volumes)))
}
