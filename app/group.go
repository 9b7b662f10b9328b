package app

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

// group runs the parts of a role. The first part that fails, or that ends
// without being asked, ends all others.
type group struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
	wg     sync.WaitGroup
}

func newGroup(ctx context.Context) *group {
	g := &group{}
	g.ctx, g.cancel = context.WithCancelCause(ctx)
	return g
}

// Go runs a part until the group's context ends.
func (g *group) Go(name string, f func(ctx context.Context) error) {
	g.wg.Go(func() {
		err := f(g.ctx)
		switch {
		case g.ctx.Err() != nil:
		case err != nil:
			g.cancel(fmt.Errorf("%s: %w", name, err))
		default:
			g.cancel(fmt.Errorf("%s has ended", name))
		}
	})
}

// Wait returns when all parts have ended: nil if they were asked to, else the
// reason.
func (g *group) Wait(parent context.Context) error {
	<-g.ctx.Done()
	g.wg.Wait()
	if parent.Err() != nil {
		return nil
	}
	if err := context.Cause(g.ctx); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// Stop asks all parts to end and waits for them.
func (g *group) Stop() {
	g.cancel(context.Canceled)
	g.wg.Wait()
}
