package doctor

import (
	"errors"
	"slices"
	"strings"

	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/internal/vfs"
)

// Kinds of file systems, by their names in /proc/self/mountinfo.
var (
	tested  = []string{"ext4", "xfs", "btrfs"}
	network = []string{"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "virtiofs", "ceph", "afs", "lustre", "beegfs", "gfs2", "ocfs2", "glusterfs", "coda", "orangefs",
		"fuse.sshfs", "fuse.glusterfs", "fuse.s3fs", "fuse.rclone", "fuse.ceph", "fuse.ceph-fuse", "fuse.mfs", "fuse.juicefs"}
	memory = []string{"tmpfs", "ramfs", "rootfs", "hugetlbfs", "devtmpfs"}
	weak   = []string{"vfat", "msdos", "exfat", "ntfs", "ntfs3", "fuseblk", "hfs", "hfsplus", "udf", "iso9660", "squashfs", "erofs", "minix"}
	ext    = []string{"ext2", "ext3", "ext4"}
)

// mounted judges the file system by its name and its options.
func (x *examination) mounted() {
	if parts := spread(x.o.FS); parts != "" {
		x.find("spread", "%s", parts)
	}
	m := x.mount
	if !x.known {
		x.good("mount", "the system does not tell how it is mounted")
		return
	}
	before := len(x.r.Findings)
	at := func(text string) string { return m.Type + " at " + m.Point + text }
	is := func(types []string) bool { return slices.Contains(types, m.Type) }
	switch {
	case is(network):
		x.find("network-file-system", "%s", at(" from "+m.Source))
	case is(memory):
		x.find("memory-file-system", "%s", at(""))
	case m.Type == "overlay" || m.Type == "aufs" || m.Type == "fuse.fuse-overlayfs":
		x.find("overlay-file-system", "%s", at(""))
	case is(weak):
		x.find("weak-file-system", "%s", at(""))
	case m.Type == "fuse" || strings.HasPrefix(m.Type, "fuse."):
		x.find("fuse-file-system", "%s", at(""))
	case !is(tested):
		x.find("file-system-untested", "%s", at(""))
	}
	x.options(at)
	if is(ext) && x.o.WithoutJournal != nil && x.o.WithoutJournal(x.r.Path) {
		x.find("no-journal", "%s", at(" has no journal"))
	}
	if len(x.r.Findings) == before {
		x.good("mount", "%s", at(", with "+strings.Join(uniq(m.Options), ",")))
	}
}

// options judges the options of the mount. noatime and its kin are fine.
func (x *examination) options(at func(string) string) {
	m := x.mount
	nfs := strings.HasPrefix(m.Type, "nfs")
	for _, o := range []struct {
		kind    string
		applies bool
		options []string
	}{
		{"read-only", true, []string{"ro"}},
		{"barriers-off", !nfs, []string{"nobarrier", "barrier=0"}},
		{"data-writeback", !nfs, []string{"data=writeback"}},
		{"nfs-local-locks", nfs, []string{"nolock", "local_lock=all", "local_lock=flock"}},
		{"nfs-soft", nfs, []string{"soft", "softerr"}},
		{"nfs-async", nfs, []string{"async"}},
		{"overlay-volatile", m.Type == "overlay", []string{"volatile", "fsync=volatile"}},
	} {
		if o.applies && m.Has(o.options...) {
			i := slices.IndexFunc(o.options, func(option string) bool { return m.Has(option) })
			x.find(o.kind, "%s", at(" is mounted with "+o.options[i]))
		}
	}
}

// uniq returns the options, each once.
func uniq(options []string) (list []string) {
	for _, o := range options {
		if !slices.Contains(list, o) {
			list = append(list, o)
		}
	}
	return list
}

// spread returns the text about directories of HOME that are on other mounts; "": there are none.
func spread(f vfs.FS) string {
	err := vfs.OnOneMount(f, string(store.A), string(store.B), "journal", "misc")
	if parts, ok := errors.AsType[*vfs.SpreadError](err); ok {
		return strings.Join(parts.Parts, ", ") + ": on another file system or mount than HOME itself"
	}
	return ""
}
