//go:build !linux

package zeo

import (
	"errors"
	"syscall"
)

const canSendFile = false

func sendMore(syscall.RawConn, []byte) error { return errors.ErrUnsupported }

func sendFile(_, _ syscall.RawConn, _ int64, _ int) (int, error) { return 0, errors.ErrUnsupported }
