package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/dirstorage/dirstorage/internal/human"
	"github.com/dirstorage/dirstorage/internal/transfer"
	"github.com/dirstorage/dirstorage/zodb"
)

const (
	// lineEvery is the time between two lines that stay, if HOME has been behind for so long, or nothing more comes;
	// upEvery that while transactions come and HOME keeps up.
	lineEvery = 10 * time.Second
	upEvery   = time.Minute
)

// followState is a line of import --follow --json.
type followState struct {
	State        string    `json:"state"` // caught-up, up, behind or lost
	Time         time.Time `json:"time"`
	Transactions int64     `json:"transactions"` // copied so far
	LastTID      zodb.TID  `json:"last_tid"`
	LastTime     time.Time `json:"last_time"`
	// Of a HOME that is behind; -1 where it is not known.
	BehindTransactions int64   `json:"behind_transactions"`
	BehindBytes        int64   `json:"behind_bytes"`
	BehindSeconds      float64 `json:"behind_seconds"`
	Error              string  `json:"error,omitempty"`
}

// following reports how far a copy is behind its source.
type following struct {
	o     *importCommand
	e     *env
	m     *meter
	first bool      // it has caught up once
	up    time.Time // when it had everything last
	said  followState
	told  int64 // dangling references
	now   transfer.Lag

	standby standby // for status
}

func newFollowing(o *importCommand, e *env, m *meter) *following {
	return &following{o: o, e: e, m: m, said: followState{Time: e.Now()}}
}

// state is the line about a lag.
func (f *following) state(l transfer.Lag) followState {
	s := followState{State: "behind", Time: f.e.Now(), Transactions: l.Imported.Transactions, LastTID: l.LastTID, LastTime: l.LastTID.Time(),
		BehindTransactions: l.Transactions, BehindBytes: l.Bytes, BehindSeconds: l.Behind().Seconds()}
	if l.Up {
		s.State = "up"
		if f.said.State != "up" && f.said.State != "caught-up" {
			s.State = "caught-up"
		}
	}
	return s
}

// report is told of each transaction, and whenever HOME has caught up.
func (f *following) report(l transfer.Lag) {
	quiet := f.now.Up && f.now.LastTID == l.LastTID
	f.now = l
	s := f.state(l)
	f.standby.note(s)
	f.show(s)
	due := false
	switch s.State {
	case "caught-up":
		due = true
	case "up":
		since := s.Time.Sub(f.said.Time)
		due = s.LastTID != f.said.LastTID && (since >= upEvery || quiet && since >= lineEvery)
	case "behind":
		due = s.Time.Sub(f.said.Time) >= lineEvery && s.Time.Sub(f.up) >= lineEvery
	}
	if due {
		f.say(s, "")
	}
	if l.Up {
		f.first, f.up = true, s.Time
		if l.Dangling > f.told { // else at the end only
			f.told = l.Dangling
			f.m.end()
			warnDangling(f.e, l.Imported)
		}
	}
}

// show keeps the line of a terminal up to date.
func (f *following) show(s followState) {
	if !f.first && s.State == "behind" {
		return // the progress of the copy is there
	}
	f.m.update(0, 0, func(time.Duration) string { return s.text() })
}

// say writes a line that stays.
func (f *following) say(s followState, err string) {
	s.Error = err
	f.said = s
	f.e.logger().Info("following", "state", s.State, "transactions", s.Transactions, "tid", s.LastTID,
		"behind_transactions", s.BehindTransactions, "behind_bytes", s.BehindBytes, "behind_seconds", s.BehindSeconds, "err", err)
	f.m.end()
	if f.o.json {
		_ = f.e.printLine(s) // a reader that is gone ends the program by SIGPIPE
	}
	switch {
	case s.State == "lost":
		f.e.note("warning: %s\n", err)
	case s.State == "caught-up" && !f.first:
		f.e.note("copied %s up to %s; caught up: HOME has everything that the source has. Following transactions committed from now on\n", human.Number(s.Transactions, "transaction"), formatLast(s.LastTID))
	default:
		f.e.note("%s\n", s.text())
	}
}

// text is the line for people.
func (s followState) text() string {
	if s.State != "behind" {
		return fmt.Sprintf("%s: the last transaction is %s, %s copied", map[bool]string{true: "caught up", false: "up to date"}[s.State == "caught-up"], formatLast(s.LastTID), human.Count(s.Transactions))
	}
	text := "behind"
	if s.BehindTransactions >= 0 {
		text += fmt.Sprintf(" by %s", human.Number(s.BehindTransactions, "transaction"))
	}
	if s.BehindBytes >= 0 {
		text += fmt.Sprintf(", about %s", human.Bytes(s.BehindBytes))
	}
	return text + fmt.Sprintf(", %s between the last transaction here, %s, and there", human.Duration(time.Duration(s.BehindSeconds*float64(time.Second))), formatLast(s.LastTID))
}

// lost is told that the connection was lost.
func (f *following) lost(err error, again time.Duration) {
	s := f.state(f.now)
	s.State, s.Error = "lost", fmt.Sprintf("%v; trying again in %s", err, human.Duration(again))
	f.standby.note(s)
	f.say(s, s.Error)
}

// end is told how the following ended.
func (f *following) end(ctx context.Context, err error) error {
	f.m.end()
	switch {
	case err != nil:
		return err
	case !f.first: // taken for a copy, it would lose the rest
		return fmt.Errorf("the source has more than was copied: %w", context.Cause(ctx))
	case !f.now.Up:
		f.e.note("warning: stopped while %s\nhint: run it again: it copies the rest\n", f.state(f.now).text())
	}
	return nil
}
