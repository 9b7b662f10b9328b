package consul

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/consul/api"

	"lateen.dev/lateen/lib/backoff"
)

// watchCatalog follows the list of a datacenter's services, and has each of
// them watched.
func (s *Source) watchCatalog(ctx context.Context, dc string) {
	var watches sync.WaitGroup
	defer watches.Wait()
	watched := map[string]context.CancelFunc{}
	s.follow(ctx, query{datacenter: dc}, func(q *api.QueryOptions) (*api.QueryMeta, func(), error) {
		services, meta, err := s.client.Catalog().Services(q)
		return meta, func() {
			s.catalogRead(dc, services) // before anybody reads what it lists
			for name := range services {
				if watched[name] == nil {
					one, cancel := context.WithCancel(ctx)
					watched[name] = cancel
					watches.Go(func() { s.watchService(one, dc, name) })
				}
			}
			for name, cancel := range watched {
				if _, there := services[name]; !there {
					cancel()
					delete(watched, name)
				}
			}
		}, err
	})
	for _, cancel := range watched {
		cancel()
	}
}

// watchService follows a service's instances and their health.
func (s *Source) watchService(ctx context.Context, dc, name string) {
	s.follow(ctx, query{dc, name}, func(q *api.QueryOptions) (*api.QueryMeta, func(), error) {
		instances, meta, err := s.client.Health().Service(name, "", false, q)
		return meta, func() { s.serviceRead(ctx, dc, name, instances) }, err
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	s.succeededLocked(query{dc, name}, false) // what nobody asks for any more can't fail
}

// ask makes one query, and returns what is to be done with the answer.
type ask func(*api.QueryOptions) (*api.QueryMeta, func(), error)

// follow asks again and again, each time for what is newer than the last answer,
// until the context ends.
func (s *Source) follow(ctx context.Context, what query, do ask) {
	retry := backoff.Backoff{Min: s.o.BackoffMin, Max: s.o.BackoffMax}
	for index := uint64(0); ctx.Err() == nil; {
		meta, use, err := s.askOnce(ctx, what, index, do)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			s.failed(what, err)
			index = 0 // the next answer comes at once, so that the end of the failure is seen
			if retry.Wait(ctx) != nil {
				return
			}
			continue
		}
		retry.Reset()
		if meta.LastIndex != index || index == 0 {
			use()
		}
		index = nextIndex(index, meta.LastIndex)
		s.mu.Lock()
		s.succeededLocked(what, meta.ResultsFilteredByACLs)
		s.mu.Unlock()
		s.wakeRun()
		if backoff.Sleep(ctx, s.o.Pause) != nil {
			return
		}
	}
}

// nextIndex is what to wait for after an answer: one that went back means that
// Consul's state was restored or began anew, so what is there is to be read
// whole, and zero would not wait at all.
func nextIndex(last, got uint64) uint64 {
	switch {
	case got < last:
		return 0
	case got == 0:
		return 1
	}
	return got
}

// beyondWait is how much longer than asked for a query may take: Consul adds a
// sixteenth at random.
const beyondWait = 15 * time.Second

// askOnce takes a slot for one query. The first about something doesn't wait.
func (s *Source) askOnce(ctx context.Context, what query, index uint64, do ask) (*api.QueryMeta, func(), error) {
	if what.service != "" {
		select {
		case s.slots <- struct{}{}:
			defer func() { <-s.slots }()
		case <-ctx.Done():
			return nil, nil, ctx.Err()
		}
	}
	token, err := s.token()
	if err != nil {
		return nil, nil, err
	}
	wait := s.wait()
	ctx, cancel := context.WithTimeout(ctx, wait+wait/16+beyondWait)
	defer cancel()
	q := &api.QueryOptions{Datacenter: what.datacenter, WaitIndex: index, WaitTime: wait, Token: token}
	meta, use, err := do(q.WithContext(ctx))
	if err == nil && !meta.KnownLeader {
		err = fmt.Errorf("the servers have no leader")
	}
	return meta, use, err
}

// leastWait is the shortest that a query waits when many take turns.
const leastWait = time.Second

// wait is how long a query may wait: shorter where there are more services than
// slots, so that each has its turn within about the time of one long wait.
func (s *Source) wait() time.Duration {
	s.mu.Lock()
	services := 0
	for _, catalog := range s.known {
		services += len(catalog)
	}
	s.mu.Unlock()
	if services <= s.o.Watches {
		return s.o.Wait
	}
	return max(min(leastWait, s.o.Wait), s.o.Wait*time.Duration(s.o.Watches)/time.Duration(services))
}

// catalogRead takes in which services there are.
func (s *Source) catalogRead(dc string, services map[string][]string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	catalog := s.known[dc]
	if catalog == nil {
		catalog = map[string]*service{}
		s.known[dc] = catalog
	}
	for name := range services {
		if catalog[name] == nil {
			catalog[name] = &service{}
		}
	}
	for name := range catalog {
		if _, there := services[name]; !there {
			delete(catalog, name)
			s.changed[name] = struct{}{}
		}
	}
}

// serviceRead takes in what a service's instances are, unless it has gone.
func (s *Source) serviceRead(ctx context.Context, dc, name string, instances []*api.ServiceEntry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	known := s.known[dc][name]
	if known == nil || ctx.Err() != nil {
		return
	}
	known.read, known.instances = true, instances
	s.changed[name] = struct{}{}
}

func (s *Source) wakeRun() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (s *Source) failed(what query, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, before := s.failing[what]
	s.failing[what] = err.Error()
	s.progress.Fail(s.o.Now(), err.Error())
	if !before && len(s.failing) == 1 {
		s.o.Log.Warn("Consul can't be asked, keeping what it said and trying again", "source", s.name, "datacenter", what.datacenter,
			"service", what.service, "reason", err)
	}
}

// succeededLocked notes an answer: the source is ready when nothing fails any more.
func (s *Source) succeededLocked(what query, filtered bool) {
	_, before := s.failing[what]
	delete(s.failing, what)
	delete(s.filtered, what)
	if filtered {
		s.filtered[what] = struct{}{}
	}
	if len(s.failing) > 0 || !s.completeLocked() {
		return
	}
	s.progress.Ready(s.o.Now())
	if before {
		s.o.Log.Info("Consul answers again", "source", s.name)
	}
}
