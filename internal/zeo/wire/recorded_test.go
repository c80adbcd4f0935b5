package wire

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// recorded is one message of a recorded conversation.
type recorded struct {
	file     string
	line     int
	encoding Encoding
	toServer bool
	payload  []byte
}

// readRecorded returns the messages of all recorded conversations, without handshakes and other
// bytes that are not messages: see the README there.
func readRecorded(t testing.TB) []recorded {
	t.Helper()
	names, err := filepath.Glob("../testdata/recorded/*.jsonl")
	if err != nil || len(names) == 0 {
		t.Fatalf("no recorded conversations: %v", err)
	}
	var all []recorded
	for _, name := range names {
		if strings.HasPrefix(filepath.Base(name), "ruok.") {
			continue
		}
		all = append(all, readConversation(t, name)...)
	}
	return all
}

func readConversation(t testing.TB, name string) []recorded {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var out []recorded
	type stream struct {
		conn int
		dir  string
	}
	greeted := make(map[stream]bool)
	scanner := bufio.NewScanner(f)
	scanner.Buffer(nil, 16<<20)
	for line := 1; scanner.Scan(); line++ {
		if line == 1 {
			continue
		}
		var m struct {
			Conn            int
			Dir, Hex, Event string
		}
		if err := json.Unmarshal(scanner.Bytes(), &m); err != nil {
			t.Fatal(err)
		}
		s := stream{m.Conn, m.Dir}
		if m.Event != "" || !greeted[s] {
			greeted[s] = true
			continue
		}
		payload, err := hex.DecodeString(m.Hex)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, recorded{
			file: filepath.Base(name), line: line, toServer: m.Dir == "C>S", payload: payload,
			encoding: Encoding(strings.Split(filepath.Base(name), ".")[1][0]),
		})
	}
	if err := scanner.Err(); err != nil {
		t.Fatal(err)
	}
	return out
}

// unreadable are the recorded messages that must not be decoded.
var unreadable = map[string]string{
	"errors.Z5.jsonl salty":   "not a message: sent to see what happens",
	"errors.M5.jsonl salty":   "not a message: sent to see what happens",
	"undo.Z5.jsonl UndoError": "the Python server sends exception objects here",
}

// TestRecordedMessagesAreReproduced decodes Python's messages and encodes them again.
func TestRecordedMessagesAreReproduced(t *testing.T) {
	t.Parallel()
	count := 0
	met := make(map[string]bool)
	for _, r := range readRecorded(t) {
		m, err := Decode(r.encoding, r.payload)
		if err != nil {
			excused := false
			for key := range unreadable {
				file, part, _ := strings.Cut(key, " ")
				if file == r.file && bytes.Contains(r.payload, []byte(part)) {
					met[key], excused = true, true
				}
			}
			if !excused {
				t.Errorf("%s:%d: %v", r.file, r.line, err)
			}
			continue
		}
		count++
		again, err := encodeAgain(r, m)
		if err != nil {
			t.Errorf("%s:%d: %v", r.file, r.line, err)
			continue
		}
		if bytes.Contains(r.payload, []byte("cbuiltins\ndict\n")) {
			if !bytes.Contains(again, []byte("}X\x03\x00\x00\x00fooK\x01s")) {
				t.Errorf("%s:%d: the reduced dict becomes %q", r.file, r.line, again)
			}
			met["reduced dict"] = true
			continue
		}
		if !bytes.Equal(again, r.payload) {
			t.Errorf("%s:%d:\n got %x\nwant %x", r.file, r.line, again, r.payload)
		}
	}
	if count < 1400 {
		t.Errorf("only %d messages", count)
	}
	if len(met) != len(unreadable)+1 {
		t.Errorf("exceptions that were met: %v", met)
	}
}

// encodeAgain encodes a message with the function for it.
func encodeAgain(r recorded, m Message) ([]byte, error) {
	var args []any
	switch a := m.Args.(type) {
	case Tuple:
		args = a
	case List:
		args = a
	}
	switch {
	case m.Name == replyName && r.toServer: // keep-alive
		head := "\x80\x03(J\xff\xff\xff\xffK\x00X\x06\x00\x00\x00.replyNt."
		if r.encoding == Msgpack {
			head = "\x94\xff\x00\xa6.reply\xc0"
		}
		return []byte(head), nil
	case m.Failed():
		return AppendError(nil, r.encoding, m.RawID, args[0].(string), args[1])
	case m.Name == replyName:
		return AppendReply(nil, r.encoding, m.RawID, m.Args)
	case !r.toServer:
		return AppendCall(nil, r.encoding, m.Name, args...)
	}
	return AppendRequest(nil, r.encoding, m.ID, m.OneWay(), m.Name, args...)
}
