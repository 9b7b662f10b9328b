//go:build !linux

package app

import "syscall"

func childAttributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

func programAttributes() *syscall.SysProcAttr { return nil }
