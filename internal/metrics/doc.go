// Package metrics counts the work of a server and shows it to Prometheus. It is
// the only importer of Prometheus.
//
// A [Set] is the observer of the ZEO server (zeo.Observer), and a [Storage] of it that of the
// engine (dirstorage.Options.Observer). Both cost two atomic additions a call at most, and wait for
// nothing. All else is read at a scrape: [Storage.Watch] gives the functions for that.
//
//	set := metrics.New([]string{"main"}, metrics.Options{Clock: time.Now, Version: "1.2.3"})
//	s, err := dirstorage.Open(ctx, home, dirstorage.Options{Observer: set.Storage("main")})
//	…
//	set.Storage("main").Watch(metrics.Source{Status: s.Status, Backup: metrics.HomeBackup(homeFS)})
//	http.Handle("/metrics", set.Handler())
//
// Every label has a bounded number of values: the names of the storages that
// [New] was given, the limits of zeo.Observer, the states of snapshot mode. Text from a client
// never becomes a label.
//
// The numbers of one exposition are each right, but not of one instant: a
// transaction that is finished meanwhile may be in one and not yet in another.
// The count of a histogram is the sum of its buckets at all times.
package metrics
