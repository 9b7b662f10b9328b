package dataplane

import (
	"context"
	"errors"
)

type Proxy struct{}

func Start(context.Context, Config) (*Proxy, error) { return nil, errors.New("no engine") }
func (*Proxy) WaitReady(context.Context) error      { return nil }
func (*Proxy) Drain(context.Context) error          { return nil }
func (*Proxy) Close()                               {}
