package zodb

import (
	"encoding/json"
	"testing"
	"time"
)

func TestTIDsAreTimesAsZODBHasThem(t *testing.T) {
	t.Parallel()
	for tid, want := range map[TID]string{
		0x03F6ED1800000000: "2024-03-01T10:00:00Z",
		0x03F6ED1905555555: "2024-03-01T10:01:01.25Z",
		0x03F6ED1A0AAAAAAA: "2024-03-01T10:02:02.5Z",
		0x03F6ED2440000000: "2024-03-01T10:12:15Z",
		0:                  "1900-01-01T00:00:00Z",
	} {
		w, err := time.Parse(time.RFC3339Nano, want)
		if err != nil {
			t.Fatal(err)
		}
		if d := tid.Time().Sub(w).Abs(); d > time.Second {
			t.Errorf("%s is %s, want about %s", tid, tid.Time(), want)
		}
		if got := TIDFromTime(tid.Time()); got != tid {
			t.Errorf("%s becomes %s", tid, got)
		}
	}
	if got := TIDFromTime(time.Date(2024, 3, 1, 10, 12, 15, 0, time.UTC)); got != 0x03F6ED2440000000 {
		t.Errorf("got %s", got)
	}
	if got := TIDFromTime(time.Date(1899, 12, 31, 0, 0, 0, 0, time.UTC)); got != 0 {
		t.Errorf("before 1900: %s", got)
	}
}

func TestLaterTimesHaveLargerTIDs(t *testing.T) {
	t.Parallel()
	at := time.Date(2024, 1, 31, 23, 59, 59, 999_000_000, time.UTC)
	for range 1000 {
		next := at.Add(2*time.Hour + 17*time.Nanosecond)
		if TIDFromTime(next) <= TIDFromTime(at) {
			t.Fatalf("%s and %s", at, next)
		}
		at = next
	}
}

func TestIDsArePrintedAndRead(t *testing.T) {
	t.Parallel()
	if s := OID(0x1A).String(); s != "000000000000001A" {
		t.Error(s)
	}
	for _, s := range []string{"000000000000001A", "000000000000001a"} {
		if o, err := ParseOID(s); err != nil || o != 0x1A {
			t.Errorf("%s: %s, %v", s, o, err)
		}
		if v, err := ParseTID(s); err != nil || v != 0x1A {
			t.Errorf("%s: %s, %v", s, v, err)
		}
	}
	for _, s := range []string{"", "1A", "0x0000000000001A", "00000000000000001A", "000000000000001G", " 00000000000001A"} {
		if _, err := ParseOID(s); err == nil {
			t.Errorf("%q was accepted", s)
		}
		if _, err := ParseTID(s); err == nil {
			t.Errorf("%q was accepted", s)
		}
	}
	if OIDFromBytes(OID(1<<63|5).Bytes()) != 1<<63|5 || TIDFromBytes(TID(7).Append([]byte{})) != 7 {
		t.Error("bytes")
	}
	b, err := json.Marshal(Record{OID: 1, TID: 2})
	var back Record
	if err == nil {
		err = json.Unmarshal(b, &back)
	}
	if err != nil || back.OID != 1 || back.TID != 2 {
		t.Errorf("%s, %v", b, err)
	}
}

func FuzzTIDTime(f *testing.F) {
	f.Add(uint64(0x03F6ED1905555555))
	f.Fuzz(func(t *testing.T, v uint64) {
		tid := TID(v)
		back, err := ParseTID(tid.String())
		if err != nil || back != tid {
			t.Errorf("%s: %s, %v", tid, back, err)
		}
		// A legal day of a month, and a year that nanoseconds can tell.
		day, year := v>>32/60/24%31, v>>32/60/24/31/12
		if at := tid.Time(); day < 28 && year < 200 && TIDFromTime(at) != tid {
			t.Errorf("%s is %s, which is %s", tid, at, TIDFromTime(at))
		}
	})
}
