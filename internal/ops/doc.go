// Package ops shows operators the state of a server: an HTTP listener of its own for probes and
// metrics, and messages to systemd.
//
//	/live     200 while the process is not stuck; 503 means: restart it
//	/ready    200 while clients should come here; 503 with the reasons as JSON
//	/metrics  for Prometheus
//	/web/     pages for people, which package web answers, if they are switched on
//	/         a list of these
//
// The two probes answer different questions. A storage that a failure of the disk
// has made read-only is alive, and not ready: restarting the process again and
// again would mend nothing. Nothing here changes anything, there is no
// authentication but that of the pages, and so the listener is on the loopback
// interface unless somebody says otherwise.
//
// A probe never waits longer than its time limit, and however often it is
// asked, there is never more than one check under way: see [Probe].
package ops
