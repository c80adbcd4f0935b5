//go:build !linux

package zeo

func peerGone(int) bool { return false }
