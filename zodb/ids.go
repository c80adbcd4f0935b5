package zodb

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"time"
)

// OID is the id of an object. The root object of a database is 0.
type OID uint64

// RootOID is the root object: objects that cannot be reached from it are garbage.
const RootOID OID = 0

// TID is the id of a transaction, and at the same time the serial (revision
// number) of everything that it stored. It encodes a time, see [TIDFromTime].
// Zero means “none”; MaxTID is later than every transaction.
type TID uint64

// MaxTID is later than the id of any transaction that can exist.
const MaxTID TID = 1<<64 - 1

// OIDFromBytes reads 8 big-endian bytes. It panics if b is shorter.
func OIDFromBytes(b []byte) OID { return OID(binary.BigEndian.Uint64(b)) }

// TIDFromBytes reads 8 big-endian bytes. It panics if b is shorter.
func TIDFromBytes(b []byte) TID { return TID(binary.BigEndian.Uint64(b)) }

// Bytes returns the 8 big-endian bytes of the id.
func (o OID) Bytes() []byte { return binary.BigEndian.AppendUint64(nil, uint64(o)) }

// Bytes returns the 8 big-endian bytes of the id.
func (t TID) Bytes() []byte { return binary.BigEndian.AppendUint64(nil, uint64(t)) }

// Append appends the 8 big-endian bytes of the id to b.
func (o OID) Append(b []byte) []byte { return binary.BigEndian.AppendUint64(b, uint64(o)) }

// Append appends the 8 big-endian bytes of the id to b.
func (t TID) Append(b []byte) []byte { return binary.BigEndian.AppendUint64(b, uint64(t)) }

// String returns 16 upper-case hexadecimal digits, as in file names.
func (o OID) String() string { return string(appendHex(nil, uint64(o))) }

// String returns 16 upper-case hexadecimal digits, as in file names.
func (t TID) String() string { return string(appendHex(nil, uint64(t))) }

// MarshalText makes the id a JSON string of 16 upper-case hexadecimal digits.
func (o OID) MarshalText() ([]byte, error) { return appendHex(nil, uint64(o)), nil }

// MarshalText makes the id a JSON string of 16 upper-case hexadecimal digits.
func (t TID) MarshalText() ([]byte, error) { return appendHex(nil, uint64(t)), nil }

// UnmarshalText accepts the same texts as ParseOID.
func (o *OID) UnmarshalText(b []byte) error {
	v, err := ParseOID(string(b))
	if err == nil {
		*o = v
	}
	return err
}

// UnmarshalText accepts the same texts as ParseTID.
func (t *TID) UnmarshalText(b []byte) error {
	v, err := ParseTID(string(b))
	if err == nil {
		*t = v
	}
	return err
}

// ParseOID reads exactly 16 hexadecimal digits of either case.
func ParseOID(s string) (OID, error) {
	v, ok := parseHex(s)
	if !ok {
		return 0, fmt.Errorf("%q is not an oid: want 16 hexadecimal digits", s)
	}
	return OID(v), nil
}

// ParseTID reads exactly 16 hexadecimal digits of either case.
func ParseTID(s string) (TID, error) {
	v, ok := parseHex(s)
	if !ok {
		return 0, fmt.Errorf("%q is not a tid: want 16 hexadecimal digits", s)
	}
	return TID(v), nil
}

const nanosPerMinute = 60_000_000_000

const hexDigits = "0123456789ABCDEF"

func appendHex(b []byte, v uint64) []byte {
	for shift := 60; shift >= 0; shift -= 4 {
		b = append(b, hexDigits[v>>shift&15])
	}
	return b
}

func parseHex(s string) (uint64, bool) {
	if len(s) != 16 {
		return 0, false
	}
	var v uint64
	for i := range len(s) {
		c := s[i]
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c >= 'A' && c <= 'F':
			c -= 'A' - 10
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		default:
			return 0, false
		}
		v = v<<4 | uint64(c)
	}
	return v, true
}

// TIDFromTime encodes a time as ZODB's TimeStamp does: the upper 32 bits count
// minutes since 1900 as if every month had 31 days, the lower 32 bits are the
// fraction of the minute. Resolution is about 14 nanoseconds. Times before
// 1900 give 0.
func TIDFromTime(t time.Time) TID {
	t = t.UTC()
	if t.Year() < 1900 {
		return 0
	}
	minutes := uint64((((t.Year()-1900)*12+int(t.Month())-1)*31+t.Day()-1)*24+t.Hour())*60 + uint64(t.Minute())
	nanos := uint64(t.Second())*1e9 + uint64(t.Nanosecond())
	fraction, _ := bits.Div64(nanos>>32, nanos<<32, nanosPerMinute)
	return TID(minutes<<32 | fraction)
}

// Time is the inverse of [TIDFromTime], in UTC, rounded to the nanosecond. A
// TID that no calendar date stands behind gives the date that Go makes of it.
func (t TID) Time() time.Time {
	minutes := uint64(t) >> 32
	fraction := uint64(t) & (1<<32 - 1)
	// Round up, so that TIDFromTime(t.Time()) is t wherever nanoseconds allow it.
	hi, lo := bits.Mul64(fraction, nanosPerMinute)
	lo, carry := bits.Add64(lo, 1<<32-1, 0)
	nanos := (hi+carry)<<32 | lo>>32
	minute := minutes % 60
	hour := minutes / 60 % 24
	day := minutes / (60 * 24) % 31
	month := minutes / (60 * 24 * 31) % 12
	year := minutes / (60 * 24 * 31 * 12)
	return time.Date(1900+int(year), time.Month(month+1), int(day)+1, int(hour), int(minute), int(nanos/1e9), int(nanos%1e9), time.UTC)
}
