package budget

import (
	"io/fs"
	"testing"
)

func TestFindMemory(t *testing.T) {
	t.Parallel()
	const gib, mib = 1 << 30, 1 << 20
	meminfo := "MemTotal:        4194304 kB\nMemFree:          100 kB\n"
	for _, tc := range []struct {
		name  string
		files map[string]string
		want  Memory
	}{
		{"nothing", nil, Memory{gib, "nothing that could be found out"}},
		{"machine", map[string]string{"/proc/meminfo": meminfo, "/proc/self/cgroup": "0::/\n"}, Memory{3 * gib, "the machine"}},
		{"damaged", map[string]string{"/proc/meminfo": "MemTotal: x kB\n", "/proc/self/cgroup": "0:\n\n:"}, Memory{gib, "nothing that could be found out"}},
		{"version 2", map[string]string{
			"/proc/meminfo": meminfo, "/proc/self/cgroup": "0::/system.slice/zodb.service\n",
			"/sys/fs/cgroup/system.slice/zodb.service/memory.max": "1073741824\n",
			"/sys/fs/cgroup/system.slice/memory.max":              "max\n",
		}, Memory{gib / 8 * 7, "the control group"}},
		{"version 2, high", map[string]string{
			"/proc/meminfo": meminfo, "/proc/self/cgroup": "0::/a\n",
			"/sys/fs/cgroup/a/memory.max": "1073741824\n", "/sys/fs/cgroup/a/memory.high": "536870912\n",
		}, Memory{448 * mib, "the control group"}},
		{"version 2, the group above", map[string]string{
			"/proc/meminfo": meminfo, "/proc/self/cgroup": "0::/a/b\n",
			"/sys/fs/cgroup/a/b/memory.max": "max\n", "/sys/fs/cgroup/a/memory.max": "1073741824\n",
		}, Memory{gib / 8 * 7, "the control group"}},
		{"version 2, in a container", map[string]string{
			"/proc/meminfo": meminfo, "/proc/self/cgroup": "0::/../docker/1\n", "/sys/fs/cgroup/memory.max": "67108864\n",
		}, Memory{48 * mib, "the control group"}},
		{"version 1", map[string]string{
			"/proc/meminfo": meminfo, "/proc/self/cgroup": "5:devices:/\n4:cpu,memory:/job\n0::/\n",
			"/sys/fs/cgroup/memory/job/memory.limit_in_bytes": "134217728\n",
			"/sys/fs/cgroup/memory/memory.limit_in_bytes":     "9223372036854771712\n",
		}, Memory{104 * mib, "the control group"}},
		{"a group of 32 MiB", map[string]string{"/proc/self/cgroup": "0::/\n", "/sys/fs/cgroup/memory.max": "33554432\n"}, Memory{16 * mib, "the control group"}},
		{"a group of 80 MiB", map[string]string{"/proc/self/cgroup": "0::/\n", "/sys/fs/cgroup/memory.max": "83886080\n"}, Memory{60 * mib, "the control group"}},
		{"a group of 192 MiB", map[string]string{"/proc/self/cgroup": "0::/\n", "/sys/fs/cgroup/memory.max": "201326592\n"}, Memory{168 * mib, "the control group"}},
		{"more than the machine has", map[string]string{
			"/proc/meminfo": meminfo, "/proc/self/cgroup": "0::/\n", "/sys/fs/cgroup/memory.max": "99999999999999\n",
		}, Memory{3 * gib, "the machine"}},
		{"tiny", map[string]string{"/proc/self/cgroup": "0::/\n", "/sys/fs/cgroup/memory.max": "10485760\n"}, Memory{5 * mib, "the control group"}},
	} {
		read := func(name string) ([]byte, error) {
			if s, ok := tc.files[name]; ok {
				return []byte(s), nil
			}
			return nil, fs.ErrNotExist
		}
		if got := Find(func(string) string { return "" }, read, func() int64 { return 0 }); got != tc.want {
			t.Errorf("%s: %+v, want %+v", tc.name, got, tc.want)
		}
		// The kernel counts where the file is hidden, and a smaller control group before it.
		want := tc.want
		if want.Source == "nothing that could be found out" {
			want = Memory{6 * gib, "the machine"}
		}
		if got := Find(func(string) string { return "" }, read, func() int64 { return 8 * gib }); got != want {
			t.Errorf("%s, and the kernel tells 8 GiB: %+v, want %+v", tc.name, got, want)
		}
	}
}
