package lb

// Loads spreads 100 percent of the traffic over priorities as Envoy does: each priority's health is the share of its
// healthy hosts times the overprovisioning factor, at most 100; traffic goes to the first priorities whose health
// adds up to 100, and spills over only as far as needed. A priority whose healthy share lies below panicPercent
// panics (its health is ignored) when the healthy priorities together cannot carry all traffic.
func Loads(healthy, total []int, overprovisioning, panicPercent float64) (loads []int, panicking []bool) {
	n := len(total)
	loads, panicking = make([]int, n), make([]bool, n)
	health := make([]int, n)
	sum, hosts := 0, 0
	for i := range total {
		hosts += total[i]
		if total[i] > 0 {
			health[i] = min(100, int(overprovisioning*100*float64(healthy[i])/float64(total[i])))
		}
		sum += health[i]
	}
	if hosts == 0 {
		return loads, panicking
	}
	if sum >= 100 {
		left := 100
		for i := range loads {
			loads[i] = min(left, health[i])
			left -= loads[i]
		}
		return loads, panicking
	}
	anyPanic := false
	for i := range total {
		if total[i] > 0 && 100*float64(healthy[i]) < panicPercent*float64(total[i]) {
			panicking[i], anyPanic = true, true
		}
	}
	spread(loads, weightsInPanic(total, health, anyPanic && sum == 0, panicking))
	return loads, panicking
}

// weightsInPanic decides what the traffic follows when the priorities are not healthy enough: the hosts of
// panicking priorities if nothing at all is healthy, else the health that is left.
func weightsInPanic(total, health []int, useHosts bool, panicking []bool) []int {
	if !useHosts {
		return health
	}
	w := make([]int, len(total))
	for i := range total {
		if panicking[i] {
			w[i] = total[i]
		}
	}
	return w
}

// spread writes shares of 100 in proportion to weights; what rounding leaves goes to the first that has any.
func spread(loads, weights []int) {
	sum := 0
	for _, w := range weights {
		sum += w
	}
	if sum == 0 {
		return
	}
	left, first := 100, -1
	for i, w := range weights {
		loads[i] = w * 100 / sum
		left -= loads[i]
		if first < 0 && w > 0 {
			first = i
		}
	}
	loads[first] += left
}
