package metrics

import (
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/dirstorage/dirstorage/zodb"
)

const prefix = "dirstorage_"

// collector makes the exposition out of the counters of a set.
type collector struct {
	set        *Set
	counted    []counted
	histograms []measured
	gauges     []gauge
	states     *prometheus.Desc
	phases     *prometheus.Desc
	info       *prometheus.Desc
	refused    *prometheus.Desc
	build      *prometheus.Desc
	ends       *prometheus.Desc
	jobs       jobGauges
}

// counted is a number that is there from the start, whether or not the storage is open.
type counted struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(*Storage) float64
}

// measured is a histogram. If its count is a metric by itself, too, total names it.
type measured struct {
	desc, total *prometheus.Desc
	of          func(*Storage) *histogram
}

// gauge is a number that is read at each scrape. It reports false if there is
// nothing to show.
type gauge struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(*reading) (float64, bool)
}

// reading holds the values that one scrape has read of one storage.
type reading struct {
	zodb.Status
	source *watched
}

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(prefix+name, help, labels, nil)
}

func ofStorage(name, help string, labels ...string) *prometheus.Desc {
	return describe(name, help, append([]string{"storage"}, labels...)...)
}

func newCollector(s *Set) *collector {
	return &collector{
		set:        s,
		counted:    countedOnes(),
		histograms: measuredOnes(),
		gauges:     slices.Concat(stateGauges(), packGauges(), sizeGauges(), backupGauges()),
		states:     ofStorage("snapshot_state", "1 for the state that snapshot mode is in, 0 for the others.", "state"),
		phases:     ofStorage("pack_phase", "1 for the phase of the pack that is under way, 0 for the others.", "phase"),
		info:       ofStorage("storage_info", "1, with labels that do not change while a storage is open.", "class", "format", "identity"),
		refused:    describe("refused_total", "Requests that limits have refused.", "limit"),
		build:      describe("build_info", "1, with the version of the program.", "version", "revision", "goversion"),
		ends:       describe("certificate_end_timestamp_seconds", "When a certificate or a revocation list of the server ends; not shown without TLS.", "use", "name"),
		jobs:       newJobGauges(),
	}
}

func countedOnes() []counted {
	count := func(name, help string, value func(*Storage) uint64) counted {
		return counted{ofStorage(name, help), prometheus.CounterValue, func(s *Storage) float64 { return float64(value(s)) }}
	}
	return []counted{
		{ofStorage("connections", "Connections that have registered for the storage."), prometheus.GaugeValue, func(s *Storage) float64 { return float64(s.connections.Load()) }},
		count("conflicts_total", "Votes that met conflicts.", func(s *Storage) uint64 { return s.conflicts.Load() }),
		count("aborts_total", "Transactions that were aborted, by the client or because it went away.", func(s *Storage) uint64 { return s.aborts.Load() }),
		count("synced_transactions_total", "Transactions that group commits have committed.", func(s *Storage) uint64 { return s.synced.Load() }),
		count("flushed_transactions_total", "Transactions that were moved out of the log into files.", func(s *Storage) uint64 { return s.flushedTransactions.Load() }),
		count("flushed_files_total", "Files that flushes have made, at most.", func(s *Storage) uint64 { return s.flushedFiles.Load() }),
	}
}

func measuredOnes() []measured {
	return []measured{
		{ofStorage("load_seconds", "How long reading an object took (loadBefore)."), ofStorage("loads_total", "Objects that clients have read (loadBefore)."), func(s *Storage) *histogram { return s.load }},
		{ofStorage("commit_seconds", "How long tpc_finish took, the fsync included."), ofStorage("commits_total", "Transactions that were finished."), func(s *Storage) *histogram { return s.commit }},
		{ofStorage("vote_seconds", "How long the vote took, waiting for locks included."), nil, func(s *Storage) *histogram { return s.vote }},
		{ofStorage("lock_wait_seconds", "How long votes waited for the locks of their objects; one that did not have to wait is not counted."), nil, func(s *Storage) *histogram { return s.lockWait }},
		{ofStorage("fsync_seconds", "How long each group commit took, the write of its commit records and the fsync."), nil, func(s *Storage) *histogram { return s.fsync }},
		{ofStorage("flush_seconds", "How long each flush took."), nil, func(s *Storage) *histogram { return s.flush }},
	}
}

// always makes a gauge that every storage has.
func always(name, help string, value func(*reading) float64) gauge {
	return gauge{ofStorage(name, help), prometheus.GaugeValue, func(r *reading) (float64, bool) { return value(r), true }}
}

// sometimes makes a gauge that is not shown where it is not known.
func sometimes(name, help string, value func(*reading) (float64, bool)) gauge {
	return gauge{ofStorage(name, help), prometheus.GaugeValue, value}
}

func stateGauges() []gauge {
	return []gauge{
		always("last_tid", "Tid of the last transaction as a number, rounded to 53 bits.", func(r *reading) float64 { return float64(r.LastTID) }),
		always("last_transaction_timestamp_seconds", "Time in the tid of the last transaction; 0 if there is none.", func(r *reading) float64 { return tidSeconds(r.LastTID) }),
		always("packed_timestamp_seconds", "Time to which the storage is packed; 0 if it never was.", func(r *reading) float64 { return tidSeconds(r.Packed) }),
		always("open_transactions", "Transactions that have begun and not ended.", func(r *reading) float64 { return float64(r.OpenTransactions) }),
		always("unflushed_transactions", "Committed transactions that are in the log and not yet in files.", func(r *reading) float64 { return float64(r.UnflushedTransactions) }),
		always("unflushed_files", "Files that the unflushed transactions will become.", func(r *reading) float64 { return float64(r.UnflushedFiles) }),
		always("journal_bytes", "Size of the log.", func(r *reading) float64 { return float64(r.JournalBytes) }),
		always("rolled_forward_transactions", "Transactions that were found in the log when the storage was opened.", func(r *reading) float64 { return float64(r.RolledForward) }),
		always("commit_under_way_seconds", "How long the commit that is under way has taken; 0 if there is none.", func(r *reading) float64 { return r.CommitSeconds }),
		always("snapshot_seconds", "How long the storage has been in snapshot mode; 0 if it is not.", func(r *reading) float64 {
			if r.SnapshotMode == nil {
				return 0
			}
			return r.SnapshotMode.Seconds
		}),
		always("snapshot_newer_transactions", "Transactions that were committed since snapshot mode was entered; 0 if it is not.", func(r *reading) float64 {
			if r.SnapshotMode == nil {
				return 0
			}
			return float64(r.SnapshotMode.Newer)
		}),
		always("read_only", "1 if nothing can be written, on purpose or after a failure.", func(r *reading) float64 { return oneIf(r.ReadOnly) }),
		always("failed", "1 if a failure has made the storage read-only until it is opened again.", func(r *reading) float64 { return oneIf(r.Failure != "") }),
		always("damaged_files", "Files that were found damaged in passing and are left as they are; a check says more.", func(r *reading) float64 { return float64(len(r.Damaged)) }),
		always("flush_blocked", "1 while a full disk, or a lack of descriptors or memory, keeps transactions from being flushed, or from being taken at all.", func(r *reading) float64 { return oneIf(r.Trouble != "") }),
		{ofStorage("passing_errors_total", "Operations that failed for want of room, descriptors or memory, and were repeated later or refused."), prometheus.CounterValue,
			func(r *reading) (float64, bool) { return float64(r.PassingErrors), true }},
	}
}

// packGauges are about the pack, or the undelete, that is under way.
func packGauges() []gauge {
	of := func(value func(*zodb.PackProgress) float64, known func(*zodb.PackProgress) bool) func(*reading) (float64, bool) {
		return func(r *reading) (float64, bool) {
			if r.Pack == nil || !known(r.Pack) {
				return 0, false
			}
			return value(r.Pack), true
		}
	}
	running := func(*zodb.PackProgress) bool { return true }
	return []gauge{
		always("pack_running", "1 while a pack, or an undelete, is under way.", func(r *reading) float64 { return oneIf(r.Pack != nil) }),
		sometimes("pack_begun_timestamp_seconds", "When the pack that is under way began; not shown if there is none.",
			of(func(p *zodb.PackProgress) float64 { return seconds(p.Begun) }, running)),
		sometimes("pack_done", "Progress of the pack in its phase, in objects, transactions or files; not shown if there is none.",
			of(func(p *zodb.PackProgress) float64 { return float64(p.Done) }, running)),
		sometimes("pack_expected", "Total work of the pack in its phase; not shown where it is not known.",
			of(func(p *zodb.PackProgress) float64 { return float64(p.Total) }, func(p *zodb.PackProgress) bool { return p.Total > 0 })),
		sometimes("pack_rate", "Progress of the pack a second, since its phase began; not shown if there is none.",
			of(func(p *zodb.PackProgress) float64 { return p.Rate }, running)),
		sometimes("pack_left_seconds", "How long the phase of the pack will take at that rate; not shown where it is not known.",
			of(func(p *zodb.PackProgress) float64 { return p.LeftSeconds }, func(p *zodb.PackProgress) bool { return p.LeftSeconds > 0 })),
	}
}

// packPhases are the values of the label of dirstorage_pack_phase: those of [zodb.PackProgress],
// and that of an undelete.
func packPhases() []string {
	return []string{
		"waiting for transactions", "listing", "marking", "planning", "removing objects", "removing transactions", "removing deleted files",
		"giving space back",
		"bringing back revisions", "bringing back objects", "linking transactions",
	}
}

func sizeGauges() []gauge {
	exactly := func(value func(zodb.Counts) int64) func(*reading) (float64, bool) {
		return func(r *reading) (float64, bool) { return float64(value(r.Counts)), r.Counts.Exact }
	}
	removed := func(value func(*zodb.Removed) float64) func(*reading) (float64, bool) {
		return func(r *reading) (float64, bool) {
			if r.Removed == nil {
				return 0, false
			}
			return value(r.Removed), true
		}
	}
	space := func(value func(*reading) uint64) func(*reading) (float64, bool) {
		return func(r *reading) (float64, bool) { return float64(value(r)), r.Space.TotalBytes > 0 }
	}
	inodes := func(value func(*reading) uint64) func(*reading) (float64, bool) {
		return func(r *reading) (float64, bool) { return float64(value(r)), r.Space.TotalInodes > 0 }
	}
	return []gauge{
		always("counts_exact", "1 if the numbers of revisions, transactions and bytes are known, and that of objects is no upper bound.", func(r *reading) float64 { return oneIf(r.Counts.Exact) }),
		always("objects", "Objects in the storage, those included that a pack would remove.", func(r *reading) float64 { return float64(r.Counts.Objects) }),
		sometimes("revisions", "Revisions in the storage.", exactly(func(n zodb.Counts) int64 { return n.Revisions })),
		sometimes("transactions", "Transactions in the storage.", exactly(func(n zodb.Counts) int64 { return n.Transactions })),
		sometimes("bytes", "Size of the storage's files, without the overhead of the file system.", exactly(func(n zodb.Counts) int64 { return n.Bytes })),
		sometimes("blob_bytes", "Size of the blobs, which bytes includes.", exactly(func(n zodb.Counts) int64 { return n.BlobBytes })),
		sometimes("removed_gone_bytes", "Bytes inside bundles that packs have removed for good, and that are given back when the bundles are written again; of format bundled.",
			removed(func(r *zodb.Removed) float64 { return float64(r.GoneBytes) })),
		sometimes("removed_aside_bytes", "Bytes inside bundles that packs have put aside, and that can be brought back; of format bundled.",
			removed(func(r *zodb.Removed) float64 { return float64(asideBytes(r)) })),
		sometimes("removed_aside_until_timestamp_seconds", "When the oldest of that is gone for good; not shown if nothing is put aside.", func(r *reading) (float64, bool) {
			if r.Removed == nil || len(r.Removed.Aside) == 0 {
				return 0, false
			}
			return seconds(r.Removed.Aside[0].Until), true
		}),
		sometimes("gave_back_bytes", "Bytes that the storage has given back since its open, by writing bundles again; of format bundled.",
			func(r *reading) (float64, bool) { return float64(r.GaveBackBytes), r.Removed != nil }),
		always("low_space", "1 if so little space, or so few inodes, are free that the server warns of it.", func(r *reading) float64 { return oneIf(r.LowSpace != "") }),
		sometimes("free_bytes", "Free bytes on the file system of the storage.", space(func(r *reading) uint64 { return r.Space.FreeBytes })),
		sometimes("capacity_bytes", "Size of the file system of the storage.", space(func(r *reading) uint64 { return r.Space.TotalBytes })),
		sometimes("free_inodes", "Files that can still be made; not shown where the file system has no limit.", inodes(func(r *reading) uint64 { return r.Space.FreeInodes })),
		sometimes("capacity_inodes", "Files that the file system can hold; not shown where it has no limit.", inodes(func(r *reading) uint64 { return r.Space.TotalInodes })),
	}
}

// asideBytes is the sum of all packs.
func asideBytes(r *zodb.Removed) (bytes int64) {
	for _, a := range r.Aside {
		bytes += a.Bytes
	}
	return bytes
}

func backupGauges() []gauge {
	of := func(record func(*watched) *cached, value func(Record) float64) func(*reading) (float64, bool) {
		return func(r *reading) (float64, bool) {
			found, ok := record(r.source).get()
			return value(found), ok
		}
	}
	backup := func(w *watched) *cached { return w.backup }
	verified := func(w *watched) *cached { return w.verified }
	tid := func(r Record) float64 { return float64(r.TID) }
	at := func(r Record) float64 { return seconds(r.Time) }
	holds := func(r Record) float64 { return tidSeconds(r.TID) }
	bad := func(r Record) float64 { return float64(r.Bad) }
	return []gauge{
		sometimes("last_backup_tid", "Tid of the last transaction that a backup has, rounded to 53 bits; 0 if there is no backup.", of(backup, tid)),
		sometimes("last_backup_timestamp_seconds", "When the last backup was made; 0 if there is none.", of(backup, at)),
		sometimes("last_backup_transaction_timestamp_seconds", "Time in the tid of the last transaction that a backup has; 0 if there is no backup.", of(backup, holds)),
		sometimes("last_verified_tid", "Tid of the last transaction of the newest backup that was found good, rounded to 53 bits; 0 if there is none.", of(verified, tid)),
		sometimes("last_verified_timestamp_seconds", "When the newest backup that was found good was verified; 0 if there is none.", of(verified, at)),
		sometimes("bad_backups", "Backups that were not good when they were last verified, or whose manifest cannot be used.", of(verified, bad)),
	}
}

// Describe implements [prometheus.Collector].
func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	for _, m := range c.counted {
		ch <- m.desc
	}
	for _, m := range c.histograms {
		ch <- m.desc
		if m.total != nil {
			ch <- m.total
		}
	}
	for _, m := range c.gauges {
		ch <- m.desc
	}
	for _, desc := range []*prometheus.Desc{c.states, c.phases, c.info, c.refused, c.build, c.ends} {
		ch <- desc
	}
	c.jobs.describe(ch)
}

// Collect implements [prometheus.Collector].
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	one := func(desc *prometheus.Desc, kind prometheus.ValueType, v float64, labels ...string) {
		for i, l := range labels { // which may come from a file
			labels[i] = strings.ToValidUTF8(l, "\uFFFD")
		}
		ch <- prometheus.MustNewConstMetric(desc, kind, v, labels...)
	}
	one(c.build, prometheus.GaugeValue, 1, c.set.o.Version, c.set.o.Revision, runtime.Version())
	if c.set.o.Certificates != nil {
		for _, e := range c.set.o.Certificates() {
			one(c.ends, prometheus.GaugeValue, seconds(e.At), e.Use, e.Name)
		}
	}
	for i, limit := range c.set.limits {
		one(c.refused, prometheus.CounterValue, float64(c.set.refused[i].Load()), limit)
	}
	for _, s := range c.set.storages {
		name := strings.ToValidUTF8(s.name, "\uFFFD")
		for _, m := range c.counted {
			one(m.desc, m.kind, m.value(s), name)
		}
		for _, m := range c.histograms {
			v := m.of(s).value()
			ch <- v.metric(m.desc, name)
			if m.total != nil {
				one(m.total, prometheus.CounterValue, float64(v.count), name)
			}
		}
		w := s.source.Load()
		if w == nil {
			continue
		}
		r := &reading{Status: w.Status(), source: w}
		for _, m := range c.gauges {
			if v, ok := m.value(r); ok {
				one(m.desc, m.kind, v, name)
			}
		}
		for _, state := range []string{"none", "user", "startup", "leaving", "recombining"} {
			one(c.states, prometheus.GaugeValue, oneIf(state == snapshotState(r.Snapshot)), name, state)
		}
		for _, phase := range packPhases() {
			one(c.phases, prometheus.GaugeValue, oneIf(r.Pack != nil && r.Pack.Phase == phase), name, phase)
		}
		c.jobs.collect(slices.Concat(w.jobs.get(), w.verify.get()), func(desc *prometheus.Desc, v float64, labels ...string) {
			one(desc, prometheus.GaugeValue, v, append([]string{name}, labels...)...)
		})
		one(c.info, prometheus.GaugeValue, 1, name, string(r.Class), r.Format, r.Identity)
	}
}

// snapshotState is [zodb.Status].Snapshot without the code, which has no bound.
func snapshotState(s string) string {
	if s == "" {
		return "none"
	}
	state, _, _ := strings.Cut(s, "/")
	return state
}

func oneIf(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// tidSeconds is the time of a transaction in seconds since 1970; 0 for none.
func tidSeconds(t zodb.TID) float64 {
	if t == 0 {
		return 0
	}
	return seconds(t.Time())
}

func seconds(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixMicro()) / 1e6
}
