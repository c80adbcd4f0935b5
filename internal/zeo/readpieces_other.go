//go:build !linux

package zeo

import (
	"io"
	"net"
)

func piecesReader(nc net.Conn) io.Reader { return nc }
