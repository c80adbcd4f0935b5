package cli

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/doctor"
	"github.com/dirstorage/dirstorage/internal/runs"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/internal/vfs/crashfs"
	"github.com/dirstorage/dirstorage/internal/zeo"
	"github.com/dirstorage/dirstorage/zodb"
)

// well is a storage with which nothing is wrong: served, backed up and verified.
func well(now time.Time) homeStatus {
	backedUp := now.Add(-time.Hour)
	last := zodb.TIDFromTime(now.Add(-30 * time.Minute))
	return homeStatus{
		Running: true,
		Status:  zodb.Status{Home: "/srv/z", PID: 7, LastTID: last, Space: zodb.Space{FreeBytes: 1 << 40, TotalBytes: 1 << 41, FreeInodes: 1 << 20, TotalInodes: 1 << 21}},
		Server:  &serverState{Started: now.Add(-time.Hour), MaxConnections: 100, Certificates: []certificateEnd{{"server", "z", now.Add(90 * 24 * time.Hour), now.Add(60 * 24 * time.Hour)}}},
		Backup: &backupState{Repository: "/backup", TID: last - 1, Time: &backedUp, BehindSeconds: 60,
			Verified: &verifiedState{"b", last - 1, now.Add(-24 * time.Hour), "data"}},
		Activity: &zeo.StorageActivity{Storage: "1", Clients: []zeo.ClientActivity{
			{Client: 1, Label: "zope1", Address: "a:1", Transaction: &zeo.TxnActivity{State: "voted", StateSince: now.Add(-time.Hour)}},
			{Client: 2, Address: "a:2", Transaction: &zeo.TxnActivity{State: "voting", StateSince: now.Add(-time.Second)}},
		}, Waits: []zeo.LockWait{{Client: 2, Known: true, OID: 5, Holder: 1, Held: true}}},
	}
}

// jobOf is the record of a job that ended just now.
func jobOf(job runs.Job, now time.Time, r runs.Result) jobState {
	j := jobState{Job: job, Last: &runs.Run{Began: now.Add(-time.Hour), Ended: now, Result: r}}
	if r.Failed == "" {
		j.Good = j.Last
	}
	return j
}

// placedOn are the faults of a place on a file system, as doctor finds them.
func placedOn(kind string, options ...string) []doctor.Finding {
	return doctor.Place(crashfs.New(1), func(string) (vfs.Mount, bool) { return vfs.Mount{Type: kind, Point: "/srv", Options: options}, true })
}

// TestStorageThatIsServedReadOnlyMayBeOnAReadOnlyMount; after a failure it is a problem.
func TestStorageThatIsServedReadOnlyMayBeOnAReadOnlyMount(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 3, 0, 0, 0, time.UTC)
	st := well(now)
	st.Place, st.ReadOnly = placedOn("ext4", "ro"), true
	if st.findProblems(now, problemLimits{}); len(st.Problems) != 0 {
		t.Errorf("told are %+v", st.Problems)
	}
	st.Failure = "input/output error"
	if st.findProblems(now, problemLimits{}); len(st.Problems) != 2 {
		t.Errorf("told are %+v", st.Problems)
	}
}

// TestEachProblemIsTold makes each fault, alone: it is told with its code, its severity, a text that
// names it, and a remedy; and nothing else is.
func TestEachProblemIsTold(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 3, 0, 0, 0, time.UTC)
	limits := problemLimits{backupAge: 26 * time.Hour, verifyAge: 8 * 24 * time.Hour}
	long := now.Add(-30 * 24 * time.Hour)
	told := make(map[string]bool)
	for name, tc := range map[string]struct {
		change func(st *homeStatus)
		code   string
		severity
		text string
	}{
		"failed":  {func(st *homeStatus) { st.Failure, st.ReadOnly = "fsync: input/output error", true }, "failed", severe, "input/output error"},
		"full":    {func(st *homeStatus) { st.Trouble, st.TroubleKind = "no room", zodb.TroubleDisk }, "disk_full", severe, "no room"},
		"scarce":  {func(st *homeStatus) { st.Trouble, st.TroubleKind = "no descriptors", zodb.TroubleScarce }, "scarce", severe, "no descriptors"},
		"stuck":   {func(st *homeStatus) { st.CommitSeconds = 61 }, "stuck", severe, "1m1s"},
		"damaged": {func(st *homeStatus) { st.Damaged = []string{"A/bundles/x"} }, "damaged", severe, "A/bundles/x is damaged"},
		"damage that a check found": {func(st *homeStatus) {
			st.Jobs = []jobState{jobOf(runs.Check, now, runs.Result{Check: &runs.Checked{Extent: runs.Whole, Complete: true, Damage: 7, First: []string{"damage object-checksum", "b"}}})}
			st.Jobs[0].Damage = st.Jobs[0].Last
		}, "damaged", severe, "the check of .* found damage, 7 findings, the first: object-checksum"},
		"missing objects": {func(st *homeStatus) {
			st.Jobs = []jobState{jobOf(runs.Check, now, runs.Result{Check: &runs.Checked{Extent: runs.Whole, Complete: true, Damage: 2, Dangling: 2, First: []string{"damage dangling-reference"}}})}
			st.Jobs[0].Damage = st.Jobs[0].Last
		}, "dangling", warning, "objects are missing to which others refer; the check of .* has 2 findings, the first: dangling-reference"},
		"damage that a backup met": {func(st *homeStatus) {
			failed := runs.Result{Failed: "damage in 1 file", Damaged: true, Check: &runs.Checked{Extent: runs.Part, Damage: 1, First: []string{"corrupt data in x"}}}
			st.Jobs = []jobState{jobOf(runs.Backup, now, failed), {Job: runs.Check, Damage: &runs.Run{Ended: now, Job: runs.Backup, Result: failed}}}
		}, "damaged", severe, "the backup of .* found damage, 1 finding: corrupt data in x"},
		"failed backup": {func(st *homeStatus) { st.Jobs = []jobState{jobOf(runs.Backup, now, runs.Result{Failed: "no room"})} }, "run_failed", warning, "backup: the last run, of .*, failed: no room; no good one"},
		"killed pack": {func(st *homeStatus) {
			st.Jobs = []jobState{jobOf(runs.Pack, now, runs.Result{})}
			st.Jobs[0].Begun = &runs.Beginning{Time: now, PID: 9}
		}, "run_failed", warning, "pack: the run of .* ended without a word.*; the last good one is of "},
		"interrupted check": {func(st *homeStatus) {
			st.Jobs = []jobState{jobOf(runs.Check, now, runs.Result{Failed: "interrupted", Interrupted: true, Check: &runs.Checked{}})}
		}, "run_failed", warning, "check: the last run, of .*, was interrupted"},
		"unusable record": {func(st *homeStatus) {
			st.Jobs = []jobState{{Job: runs.Verify, Error: "unexpected end"}}
		}, "record", warning, "the record of the job verify is left out, it cannot be used: unexpected end"},
		"no room for records": {func(st *homeStatus) { st.unkept, st.Server.Unkept = true, "no space left" }, "record_room", warning, `no room is kept for records of damage \(no space left\)`},
		"in memory":           {func(st *homeStatus) { st.Place = placedOn("tmpfs") }, "memory_file_system", severe, "mount: tmpfs at /srv: everything is in memory"},
		"read-only mount":     {func(st *homeStatus) { st.Place = placedOn("ext4", "ro") }, "read_only", severe, "mount: ext4 at /srv is mounted with ro"},
		"volatile":            {func(st *homeStatus) { st.Place = placedOn("overlay", "volatile") }, "overlay_volatile", severe, "fsync does nothing"},
		"local locks":         {func(st *homeStatus) { st.Place = placedOn("nfs4", "nolock") }, "nfs_local_locks", severe, "mounted with nolock"},
		"spread": {func(st *homeStatus) {
			st.Place = []doctor.Finding{{Check: "mount", Kind: "spread", Seen: "A is elsewhere", Means: "no rename", Do: "keep it there"}}
		}, "spread", severe, "A is elsewhere"},
		"no byte is free": {func(st *homeStatus) {
			st.Place = []doctor.Finding{{Check: "space", Kind: "space-none", Seen: "0 B are free", Means: "commits are refused", Do: "pack"}}
			st.Running, st.Snapshot, st.Space.FreeBytes = false, "shutdown", 0
		}, "disk_full", severe, "space: 0 B are free"},
		"not opened": {func(st *homeStatus) { st.Unopened = "permission denied" }, "unopened", severe, "it cannot be opened: permission denied"},
		"no answer":  {func(st *homeStatus) { st.Unopened, st.silent = "it did not answer", true }, "no_answer", severe, "the process that has it open does not answer"},
		"lost list":  {func(st *homeStatus) { st.LostLists = []string{"A/bundles/x.gone"} }, "lost_list", severe, "A/bundles/x.gone is missing"},
		"crashed":    {func(st *homeStatus) { st.Running, st.Server, st.Activity = false, nil, nil }, "unclean", warning, "not closed cleanly"},
		"snapshot mode left on": {func(st *homeStatus) {
			st.Snapshot, st.SnapshotMode = "user/x", &zodb.SnapshotStatus{Since: long, Seconds: 30 * 86400, Long: true}
		}, "snapshot_long", warning, "user/x"},
		"the same, nobody runs": {func(st *homeStatus) {
			st.Running = false
			st.Snapshot, st.SnapshotMode = "user/x", &zodb.SnapshotStatus{Since: long, Seconds: 30 * 86400}
		}, "snapshot_long", warning, "30d"},
		"clock behind":            {func(st *homeStatus) { st.LastTID = zodb.TIDFromTime(now.Add(3 * time.Hour)) }, "clock_behind", warning, "the clock is 3h.* behind the last transaction, of 2026-03-01"},
		"low space":               {func(st *homeStatus) { st.LowSpace = "1 MiB is free" }, "low_space", warning, "1 MiB is free"},
		"full, and nobody runs":   {func(st *homeStatus) { st.Running, st.Snapshot, st.Space.FreeBytes = false, "shutdown", 1<<20 }, "low_space", warning, "1.0 MiB"},
		"inodes, and nobody runs": {func(st *homeStatus) { st.Running, st.Snapshot, st.Space.FreeInodes = false, "shutdown", 5 }, "low_space", warning, "5 inodes"},
		"flush behind":            {func(st *homeStatus) { st.JournalBytes, st.UnflushedTransactions = 5<<30, 4000 }, "flush_behind", warning, "4,000 transactions"},
		"repository away":         {func(st *homeStatus) { st.Backup.Error, st.Backup.Verified = "no such file", nil }, "repository", warning, "no such file"},
		"bad backup":              {func(st *homeStatus) { st.Backup.Failed = []failedBackup{{"b1", long, "wrong sum"}} }, "verification_failed", severe, "backup b1 was not good at .*wrong sum"},
		"bad manifest":            {func(st *homeStatus) { st.Backup.Unusable = []string{"b2"} }, "backup_unusable", warning, "b2"},
		"old backup":              {func(st *homeStatus) { st.Backup.Time = &long }, "backup_old", severe, "30d"},
		"old verification":        {func(st *homeStatus) { st.Backup.Verified.Time = long }, "verification_old", warning, "30d"},
		"never verified":          {func(st *homeStatus) { st.Backup.Verified, st.Backup.BehindSeconds, st.Backup.Time = nil, 0, &long }, "verification_old", warning, "ever verified"},
		"certificate ended":       {func(st *homeStatus) { st.Server.Certificates[0].End = now }, "certificate_ended", severe, "server certificate z"},
		"certificate ends":        {func(st *homeStatus) { st.Server.Certificates[0].Soon = now }, "certificate_ends", warning, "in 90 days"},
		"many connections":        {func(st *homeStatus) { st.Server.MaxConnections = 2 }, "connections", warning, "2 connections of at most 2"},
		"source away": {func(st *homeStatus) {
			st.Server, st.Activity = nil, nil
			st.Follows = &standbyState{Source: "zeo://db:8100", Since: now.Add(-time.Hour), WasUp: true, followState: followState{State: "lost", Time: now, Error: "connection refused"}}
		}, "follow_lost", warning, "no connection to zeo://db:8100 for 1h.*: connection refused"},
		"a standby that does not keep up": {func(st *homeStatus) {
			st.Server, st.Activity = nil, nil
			st.Follows = &standbyState{Source: "zeo://db:8100", Since: now.Add(-time.Hour), WasUp: true, followState: followState{State: "behind", Time: now, LastTID: 1, BehindTransactions: 7000, BehindBytes: -1}}
		}, "follow_behind", warning, "behind zeo://db:8100 for 1h.*: 7,000 transactions"},
		"a long wait": {func(st *homeStatus) { st.Activity.Clients[1].Transaction.StateSince = now.Add(-2 * time.Minute) }, "lock_wait", severe, `a:2 has been waiting for 2m.* object 0000000000000005, which zope1 \(a:1\) has`},
	} {
		t.Run(name, func(t *testing.T) {
			st := well(now)
			if st.findProblems(now, limits); len(st.Problems) != 0 || st.verdict() != nil {
				t.Fatalf("without it: %+v", st.Problems)
			}
			tc.change(&st)
			st.findProblems(now, limits)
			if len(st.Problems) != 1 {
				t.Fatalf("told are %+v", st.Problems)
			}
			p := st.Problems[0]
			told[p.Code] = true
			if p.Code != tc.code || p.Severity != tc.severity || !regexp.MustCompile(tc.text).MatchString(p.Text) || p.Remedy == "" {
				t.Errorf("told is %+v", p)
			}
			want := exitProblem
			if p.Code == "damaged" || p.Code == "lost_list" {
				want = exitDamage
			}
			if got := exitStatus(st.verdict()); got != want {
				t.Errorf("status %d, want %d", got, want)
			}
			lines := strings.Join(layoutRows(&env{}, st.rows(now), 0, false), "\n")
			if !regexp.MustCompile(`^problems: +1\n(ERROR|WARNING): +.*` + tc.text + `.*\n +remedy: .*\nstorage: `).MatchString(lines) {
				t.Errorf("printed is\n%s", lines)
			}
		})
	}
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "json.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, list, _ := strings.Cut(string(text), "\nCodes: ")
	list, _, _ = strings.Cut(list, ".\n")
	var documented []string
	for _, m := range regexp.MustCompile("`([a-z_]+)`").FindAllStringSubmatch(list, -1) {
		documented = append(documented, m[1])
	}
	slices.Sort(documented)
	if codes := slices.Sorted(maps.Keys(told)); !slices.Equal(codes, documented) {
		t.Errorf("docs/json.md has the codes %q, this test has %q", documented, codes)
	}
}

// TestSevereProblemsComeFirst, and limits of 0 are none.
func TestSevereProblemsComeFirst(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 3, 0, 0, 0, time.UTC)
	long := now.Add(-300 * 24 * time.Hour)
	st := well(now)
	st.LowSpace, st.JournalBytes, st.Failure = "low", 5<<30, "broken"
	st.Backup.Time, st.Backup.Verified.Time = &long, long
	st.findProblems(now, problemLimits{})
	var got []string
	for _, p := range st.Problems {
		got = append(got, p.Code)
	}
	if want := []string{"failed", "low_space", "flush_behind"}; !slices.Equal(got, want) {
		t.Errorf("told are %q, want %q", got, want)
	}
}

// TestEndsOfCertificatesAreRows, the first to end first, and no more than ten.
func TestEndsOfCertificatesAreRows(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 3, 0, 0, 0, time.UTC)
	st := well(now)
	if lines := strings.Join(layoutRows(&env{}, st.rows(now), 0, false), "\n"); !regexp.MustCompile(`(?m)^certificates: +the server certificate z ends at 2026-05-30.*, in 90 days$`).MatchString(lines) {
		t.Errorf("printed is\n%s", lines)
	}
	st.Server.Certificates = slices.Repeat(st.Server.Certificates, 13)
	st.Server.Certificates[0].End = now.Add(-time.Hour)
	lines := strings.Join(layoutRows(&env{}, st.rows(now), 0, false), "\n")
	if !regexp.MustCompile(`(?m)^certificates: +the server certificate z has ended at 2026-03-01.*\n +the server .*`).MatchString(lines) || strings.Count(lines, "certificate z ends") != 9 || !strings.Contains(lines, "and 3 that end later") {
		t.Errorf("printed is\n%s", lines)
	}
}
