//go:build linux

package main

import (
	"bytes"
	"encoding/json"
	"os"
	"sync"

	"github.com/dirstorage/dirstorage/zodb"
)

// event is a line of the file in which a program records its progress. Only one of its
// fields is set. Pack and Undelete come before the thing itself, the others after it.
type event struct {
	Opened   bool      `json:",omitempty"`
	Ack      *ack      `json:",omitempty"`
	Pack     *packed   `json:",omitempty"`
	Undelete bool      `json:",omitempty"`
	Ended    bool      `json:",omitempty"` // the pack or undelete
	Snapshot *snapshot `json:",omitempty"`
	File     *file     `json:",omitempty"`
	// Wrong is something that must not happen also without a cut.
	Wrong string `json:",omitempty"`
}

// ack is a transaction that was acknowledged.
type ack struct {
	TID     zodb.TID
	Objects []object
}

// object is a revision; its data and blob are known by their hash.
type object struct {
	OID  zodb.OID
	Data string     // hash; empty: the object does not exist any more
	Blob string     `json:",omitempty"`
	Live []zodb.OID `json:",omitempty"` // the objects it refers to
}

// packed says, before a pack begins, up to where it may remove.
type packed struct{ To zodb.TID }

// snapshot is A as it was in snapshot mode.
type snapshot struct {
	Asked int64 // nanoseconds, just before it was asked for
	Files map[string]stamp
}

// stamp identifies a file.
type stamp struct {
	Mtime int64
	Ino   uint64
}

// file is a file of the controls.
type file struct{ Name, Hash string }

// eventLog is written by one process at a time, one system call a line.
type eventLog struct {
	mu sync.Mutex
	f  *os.File
}

func openEvents(name string) (*eventLog, error) {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	return &eventLog{f: f}, err
}

func (l *eventLog) put(e event) error {
	line, err := json.Marshal(e)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	_, err = l.f.Write(append(line, '\n'))
	return err
}

// readEvents reads the file as it is now; a line that is not whole is left out.
func readEvents(name string) ([]event, error) {
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	var all []event
	for line := range bytes.Lines(b) {
		var e event
		if !bytes.HasSuffix(line, []byte("\n")) || json.Unmarshal(line, &e) != nil {
			break
		}
		all = append(all, e)
	}
	return all, nil
}

// maintains reports whether a pack or an undelete began in these lines.
func maintains(lines []byte) bool {
	return bytes.Contains(lines, []byte(`{"Pack":`)) || bytes.Contains(lines, []byte(`{"Undelete":`))
}
