package settings

import (
	"encoding/hex"
	"fmt"
	"io"
	"strings"
)

// identitySize is the number of random bytes in an identity.
const identitySize = 16

// NewIdentity makes the content of config/identity: 32 lower-case hexadecimal
// digits without a line end, out of 16 bytes of rand.
func NewIdentity(rand io.Reader) (string, error) {
	var b [identitySize]byte
	if _, err := io.ReadFull(rand, b[:]); err != nil {
		return "", fmt.Errorf("make an identity: %w", err)
	}
	return hex.EncodeToString(b[:]), nil
}

// ParseIdentity reads config/identity. Only the first line counts, without the
// space around it; it must be 32 hexadecimal digits. Two homes are the same
// database if their identities are equal.
func ParseIdentity(data []byte) (string, error) {
	line := ""
	if lines := splitLines(string(data)); len(lines) > 0 {
		line = strings.TrimFunc(lines[0], isSpace)
	}
	if b, err := hex.DecodeString(line); err != nil || len(b) != identitySize {
		return "", fmt.Errorf("identity %q: want %d hexadecimal digits", line, 2*identitySize)
	}
	return line, nil
}
