package vfs

import (
	"slices"
	"strconv"
	"strings"
)

// Mount describes a mount.
type Mount struct {
	Point   string   // directory
	Type    string   // of the file system, such as “ext4” or “fuse.sshfs”
	Source  string   // device, or another name for it
	Options []string // of the mount, then those of the file system
}

// Has reports whether the mount has one of these options.
func (m Mount) Has(options ...string) bool {
	return slices.ContainsFunc(options, func(o string) bool { return slices.Contains(m.Options, o) })
}

// parseMounts reads a file such as /proc/self/mountinfo (proc_pid_mountinfo(5)) and returns the mount
// with a number, or if that is 0 the last one with a mount point.
func parseMounts(text string, number uint64, point string) (m Mount, ok bool) {
	for line := range strings.Lines(text) {
		// 36 35 98:0 /root /point rw,noatime master:1 - ext4 /dev/sda rw,data=ordered
		before, after, _ := strings.Cut(strings.TrimSpace(line), " - ")
		mount, system := strings.Fields(before), strings.Fields(after)
		if len(mount) < 6 || len(system) < 2 {
			continue
		}
		at := unescapeMount(mount[4])
		if id, err := strconv.ParseUint(mount[0], 10, 64); err != nil || number != 0 && id != number || number == 0 && at != point {
			continue
		}
		m, ok = Mount{Point: at, Type: system[0], Source: unescapeMount(system[1]), Options: strings.Split(mount[5], ",")}, true
		if len(system) > 2 {
			m.Options = append(m.Options, strings.Split(system[2], ",")...)
		}
	}
	return m, ok
}

// unescapeMount replaces the escapes of that file: a backslash and three octal digits.
func unescapeMount(s string) string {
	var b strings.Builder
	for {
		text, rest, found := strings.Cut(s, `\`)
		b.WriteString(text)
		if !found {
			return b.String()
		}
		c, err := strconv.ParseUint(rest[:min(3, len(rest))], 8, 8)
		if err != nil || len(rest) < 3 {
			b.WriteByte('\\')
			s = rest
			continue
		}
		b.WriteByte(byte(c))
		s = rest[3:]
	}
}
