package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/dirstorage/dirstorage/internal/control"
	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/human"
)

// opFollow is an operation that import --follow answers at the control socket of HOME: standbyState.
const opFollow = "follow"

const (
	longLost   = time.Minute
	longBehind = 10 * time.Minute
)

// standbyState is a copy's description of itself, for status, while import --follow keeps it up.
type standbyState struct {
	Source string    `json:"source"`
	Since  time.Time `json:"since"` // of the state
	WasUp  bool      `json:"was_up"`
	followState
}

// standby has the last state of following, for those who ask. Its methods may be called concurrently.
type standby struct {
	mu    sync.Mutex
	state standbyState // guarded by mu
}

// note keeps a state. That HOME has caught up and that it still has everything is one state here.
func (b *standby) note(s followState) {
	if s.State == "caught-up" {
		s.State = "up"
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if s.State != b.state.State {
		b.state.Since = s.Time
	}
	b.state.followState = s
	b.state.WasUp = b.state.WasUp || s.State == "up"
}

// answer has the control socket of HOME tell tools how far it is behind the source.
func (f *following) answer(s *engine.Storage) {
	last := s.LastTransaction()
	f.standby.mu.Lock()
	f.standby.state.Source = f.o.source
	f.standby.mu.Unlock()
	f.standby.note(followState{State: "behind", Time: f.e.Now(), LastTID: last, LastTime: last.Time(), BehindTransactions: -1, BehindBytes: -1})
	s.Answer(opFollow, func([]byte) ([]byte, error) {
		f.standby.mu.Lock()
		defer f.standby.mu.Unlock()
		return json.Marshal(f.standby.state)
	})
}

// askStandby asks a process that is not a server whether it keeps up a copy.
func (st *homeStatus) askStandby(ctx context.Context, running *control.Client) error {
	var s standbyState
	follows, err := askServer(ctx, running, opFollow, &s)
	if follows {
		st.Follows = &s
	}
	return err
}

// rows tell the source, and how far HOME is behind it.
func (s *standbyState) rows(rows *rowList, now time.Time) {
	rows.add("follows", "%s", printable([]byte(s.Source)))
	switch at := human.Duration(now.Sub(s.Time)) + " ago"; {
	case s.State == "up":
		rows.add("", "up to date %s: it has every transaction", at)
	case s.State == "lost":
		rows.add("", "no connection for %s: %s", human.Duration(now.Sub(s.Since)), brief(s.Error))
	case s.LastTID == 0 || s.BehindTransactions < 0 && s.BehindBytes < 0:
		rows.add("", "behind, for %s; by how much is not known", human.Duration(now.Sub(s.Since)))
	default:
		rows.add("", "%s; as of %s", s.text(), at)
	}
}

// problems tell of a copy that gets nothing, or that does not keep up after it once did.
func (s *standbyState) problems(now time.Time, add addProblem) {
	source, d := printable([]byte(s.Source)), now.Sub(s.Since)
	switch {
	case s.State == "lost" && d >= longLost:
		add("follow_lost", warning, "look whether that server runs, and at the network; import --follow goes on by itself when it is there again",
			"no connection to %s for %s, so later transactions are not copied: %s", source, human.Duration(d), brief(s.Error))
	case s.State == "behind" && s.WasUp && d >= longBehind:
		add("follow_behind", warning, "look at the disk (iostat -x 1), the processor and the network of this machine: they do not keep up",
			"behind %s for %s: %s", source, human.Duration(d), s.lag())
	}
}

// lag is the distance to the source.
func (s followState) lag() string {
	var text string
	if s.BehindTransactions >= 0 {
		text = human.Number(s.BehindTransactions, "transaction") + ", "
	}
	if s.BehindBytes >= 0 {
		text += "about " + human.Bytes(s.BehindBytes) + ", "
	}
	return text + fmt.Sprintf("%s between the last transaction here and there", human.Duration(time.Duration(s.BehindSeconds*float64(time.Second))))
}
