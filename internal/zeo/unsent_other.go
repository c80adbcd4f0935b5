//go:build !linux

package zeo

import "syscall"

func unsentBytes(syscall.RawConn) int { return 0 }
