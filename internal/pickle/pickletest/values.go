package pickletest

import (
	"encoding/binary"
	"strings"

	"github.com/dirstorage/dirstorage/zodb"
)

// Values are the opcodes that push them in protocol 3.

// None is Python's None.
const None = "N"

// Object is the record of an object of a class, with the value of its state.
func Object(module, name, state string) []byte {
	return []byte("\x80\x03" + Global(module, name) + ".\x80\x03" + state + ".")
}

// Global is a class or function.
func Global(module, name string) string { return "c" + module + "\n" + name + "\n" }

// Text is a text.
func Text(s string) string { return "X" + length(s) + s }

// Bytes are bytes.
func Bytes(s string) string { return "B" + length(s) + s }

func length(s string) string {
	return string(binary.LittleEndian.AppendUint32(nil, uint32(len(s))))
}

// Int is an integer from 0 to 65535.
func Int(n int) string { return "M" + string([]byte{byte(n), byte(n >> 8)}) }

// Tuple is a tuple of values.
func Tuple(values ...string) string { return "(" + strings.Join(values, "") + "t" }

// List is a list of values.
func List(values ...string) string { return "](" + strings.Join(values, "") + "e" }

// Dict is a dictionary of keys and values in turn.
func Dict(pairs ...string) string { return "}(" + strings.Join(pairs, "") + "u" }

// Ref is a strong reference to an object of a class.
func Ref(oid zodb.OID, module, name string) string {
	return Tuple("C\x08"+string(oid.Bytes()), Global(module, name)) + "Q"
}

// Call is an object that a call makes, with a state unless that is empty.
func Call(callee, args, state string) string {
	if state != "" {
		state += "b"
	}
	return callee + args + "R" + state
}
