package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/dirstorage/dirstorage/internal/human"
)

// watching are the flags of commands that look again and again.
type watching struct {
	watch    bool
	interval time.Duration
}

const leastInterval = 100 * time.Millisecond

func (w *watching) addFlags(c *cobra.Command) {
	c.Flags().BoolVar(&w.watch, "watch", false, "show it again and again, until q or Ctrl-C")
	w.addInterval(c)
}

func (w *watching) addInterval(c *cobra.Command) {
	c.Flags().DurationVar(&w.interval, "interval", 2*time.Second, "the time between two looks")
}

func (w *watching) check() error {
	if w.interval < leastInterval {
		return usage("--interval %s: want %s or more", w.interval, leastInterval)
	}
	return nil
}

// frame is the result of one look.
type frame struct {
	lines  func(width int) []string // width 0: as wide as it gets
	footer func() string
	doc    any
}

// screen is a terminal that is drawn upon in place.
type screen struct {
	in  *os.File // nil: there are no keys
	out *os.File
}

// size is 80 by 24 where the terminal does not tell.
func (s *screen) size() (width, height int) {
	width, height, err := term.GetSize(int(s.out.Fd()))
	if err != nil || width <= 0 || height <= 0 {
		return usualColumns, 24
	}
	return width, height
}

// gone reports whether the terminal hung up.
func (s *screen) gone() bool {
	_, _, err := term.GetSize(int(s.out.Fd()))
	return errors.Is(err, syscall.EIO)
}

// each looks again and again until ctx ends, or a key ends it: then it returns nil. The error of the
// first look is returned; a later one is shown, and the storage may come back. key is told of each other
// key that is pressed; nil: there are none.
func (w *watching) each(ctx context.Context, e *env, look func(context.Context) (frame, error), asJSON bool, key func(byte)) error {
	f, err := look(ctx)
	if err != nil {
		return err
	}
	if e.Screen == nil || asJSON {
		err = w.append(ctx, e, f, look, asJSON)
	} else {
		err = w.draw(ctx, e, f, look, key)
	}
	if errors.Is(err, syscall.EIO) || errors.Is(err, syscall.EPIPE) { // nobody reads it any more
		return nil
	}
	return err
}

// append prints the results one below the other.
func (w *watching) append(ctx context.Context, e *env, f frame, look func(context.Context) (frame, error), asJSON bool) error {
	ticker := time.NewTicker(w.interval)
	defer ticker.Stop()
	for first := true; ; first = false {
		var err error
		switch {
		case f.lines == nil: // it failed
		case asJSON:
			err = e.printLine(f.doc)
		default:
			if !first {
				fmt.Fprintln(e.Stdout)
			}
			err = printLines(e.Stdout, append([]string{human.FormatTime(e.Now(), time.Local)}, f.lines(0)...))
		}
		if err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		if f, err = look(ctx); err != nil && ctx.Err() == nil {
			fmt.Fprintf(e.Stderr, "dirstorage: %v\n", err)
		}
	}
}

// Sequences of terminals. Where one is not known it does nothing.
const (
	enterScreen = "\x1b[?1049h\x1b[?25l" // another screen, without a cursor
	leaveScreen = "\x1b[?25h\x1b[?1049l"
	beginFrame  = "\x1b[?2026h" // shown when it is complete
	endFrame    = "\x1b[?2026l"
	eraseBelow  = "\x1b[J"
)

// sizeEvery is the time between two looks at the size of the terminal.
const sizeEvery = 100 * time.Millisecond

// draw shows the results in place.
func (w *watching) draw(ctx context.Context, e *env, f frame, look func(context.Context) (frame, error), key func(byte)) (err error) {
	s := e.Screen
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var keys chan byte
	if s.in != nil {
		before, err := term.MakeRaw(int(s.in.Fd()))
		if err != nil {
			return fmt.Errorf("terminal: %w", err)
		}
		defer term.Restore(int(s.in.Fd()), before)
		keys = make(chan byte)
		go readKeys(ctx, s.in, keys)
	}
	if _, err := io.WriteString(s.out, enterScreen); err != nil {
		return err
	}
	defer io.WriteString(s.out, leaveScreen)
	looks, sizes := time.NewTicker(w.interval), time.NewTicker(sizeEvery)
	defer looks.Stop()
	defer sizes.Stop()
	var p painter
	failed := ""
	for {
		if err := p.show(e, s, f, failed); err != nil {
			return err
		}
		again := false
		select {
		case <-ctx.Done():
			return nil
		case <-sizes.C:
			if s.gone() { // nothing may have changed, so that no write would tell
				return nil
			}
		case <-looks.C:
			again = true
		case b, ok := <-keys:
			if !ok { // the terminal is gone
				return nil
			}
			switch b {
			case 'q', 'Q', 3, 4: // Ctrl-C, Ctrl-D
				return nil
			}
			if key != nil {
				key(b)
			}
		}
		if !again {
			continue
		}
		next, err := look(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			failed = errorText(err)
		default:
			f, failed = next, ""
		}
	}
}

// readKeys closes keys when nothing can be read any more.
func readKeys(ctx context.Context, in io.Reader, keys chan<- byte) {
	defer close(keys)
	b := make([]byte, 64)
	for {
		n, err := in.Read(b)
		for _, key := range b[:n] {
			select {
			case keys <- key:
			case <-ctx.Done():
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// painter remembers the lines on the screen, and draws only others.
type painter struct {
	width, height int
	lines         []string
}

func (p *painter) show(e *env, s *screen, f frame, failed string) error {
	width, height := s.size()
	room := max(width-1, 1) // the cursor stays in the line
	lines, footer := f.lines(room), f.footer()
	if failed != "" {
		var about []string
		for i, text := range wrap(strings.ReplaceAll(failed, "\n", " "), room, 0, 0, true) {
			if i < 4 {
				about = append(about, e.paint(red, text))
			}
		}
		lines = append(about, lines...)
	}
	if over := len(lines) - (height - 1); over > 0 {
		lines = lines[:max(height-1, 0)]
		footer = fmt.Sprintf("%s; %s", human.Plural(int64(over), "more line", "more lines"), footer)
	}
	for len(lines) < height-1 {
		lines = append(lines, "")
	}
	lines = append(lines, e.paint(inverse, padColumns(footer, room, false)))
	var b strings.Builder
	if width != p.width || height != p.height {
		p.lines = nil
		b.WriteString("\x1b[H" + eraseBelow)
	}
	for i, line := range lines {
		if i >= len(p.lines) || p.lines[i] != line {
			fmt.Fprintf(&b, "\x1b[%d;1H%s%s", i+1, line, eraseToEnd)
		}
	}
	p.width, p.height, p.lines = width, height, lines
	if b.Len() == 0 {
		return nil
	}
	_, err := io.WriteString(s.out, beginFrame+b.String()+endFrame)
	return err
}
