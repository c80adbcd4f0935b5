// Package doctor looks at the place of a HOME: whether its file system, its mount, the clock, the
// users and the limits of the process keep the assumptions of package vfs and the needs of a server.
// It asks by trying: it writes, renames, locks and syncs in a directory of its own, layout.ProbeDir,
// and removes that.
//
//	report, err := doctor.Run(ctx, doctor.Options{FS: home, Now: time.Now, Steady: steady})
//
// Each finding has a kind, from which grade, meaning and remedy follow (kinds.go). A promise counts as
// plainly broken ([Report.Broken]) only where a trial has shown it, never by the name of a file system.
package doctor
