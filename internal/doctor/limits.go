package doctor

import (
	"time"

	"github.com/dirstorage/dirstorage/internal/engine/space"
	"github.com/dirstorage/dirstorage/internal/human"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/vfs"
)

// space judges the free space and the inodes, against the needs of commands.
func (x *examination) space() {
	sp, err := x.o.FS.Space()
	if err != nil {
		x.find("space-unknown", "the free space is not known (%v)", err)
		return
	}
	if sp.TotalBytes == 0 {
		x.find("space-unknown", "the free space is not known: the file system tells a size of 0 B")
		return
	}
	free := human.Bytes(int64(sp.FreeBytes)) + " of " + human.Bytes(int64(sp.TotalBytes)) + " are free"
	h := x.o.Home
	sized := h != nil && h.Sized
	pack := x.packRoom()
	low := space.LowBytes(sp, x.o.LowSpace)
	switch {
	case x.has("space-none"): // a trial found no room
	case full(sp):
		x.noSpace(sp)
	case low:
		x.find("space-low", "%s", free)
	case int64(sp.FreeBytes) < pack:
		x.find("space-pack", "%s; a pack may need %s at a time", free, human.Bytes(pack))
	case sized && int64(sp.FreeBytes) < h.Copy.Bytes:
		x.find("space-copy", "%s; a copy of HOME needs about %s", free, human.Bytes(h.Copy.Bytes))
	case sized:
		x.good("space", "%s; a copy of HOME (convert, restore) needs about %s, a pack up to %s at a time", free, human.Bytes(h.Copy.Bytes), human.Bytes(pack))
	default:
		x.good("space", "%s", free)
	}
	inodes := human.Count(int64(sp.FreeInodes)) + " of " + human.Count(int64(sp.TotalInodes)) + " inodes are free"
	switch {
	case sp.TotalInodes == 0:
		x.good("inodes", "the file system has no limit of inodes, or does not tell it")
	case space.LowInodes(sp):
		x.find("inodes-low", "%s", inodes)
	case sized && int64(sp.FreeInodes) < h.Copy.Inodes:
		x.find("inodes-copy", "%s; a copy of HOME in a classic format needs about %s", inodes, human.Count(h.Copy.Inodes))
	default:
		x.good("inodes", "%s", inodes)
	}
	if h != nil && h.Err == nil {
		if _, err := x.o.FS.Stat(space.ReserveFile); err != nil && h.Running {
			x.find("reserve-none", "%s is not there", space.ReserveFile)
		}
	}
}

// full reports whether nothing at all can be written, as far as the file system tells its size.
func full(sp vfs.Space) bool {
	return sp.TotalBytes > 0 && sp.FreeBytes == 0 || sp.TotalInodes > 0 && sp.FreeInodes == 0
}

func (x *examination) noSpace(sp vfs.Space) {
	x.find("space-none", "%s and %s are free", human.Bytes(int64(sp.FreeBytes)), human.Number(int64(sp.FreeInodes), "inode"))
}

// packSpare is the room of a pack for its plan and its lists.
const packSpare = 16 << 20

// packRoom is how much room a pack may take before it gives any back: in the format bundled the largest
// bundle.
func (x *examination) packRoom() int64 {
	set := x.settings()
	if set == nil {
		return 0
	}
	room := int64(packSpare)
	if set.Structure.Format != layout.Bundled {
		return room
	}
	return room + x.o.Home.Largest
}

// Limits by which a process is judged.
const (
	fewFiles    = 1024
	smallMemory = 64 << 20
)

// limits judges the limits of the server.
func (x *examination) limits() {
	l := x.o.Limits
	of := "this process"
	if l.PID != 0 {
		of = "the server"
	}
	switch {
	case l.Files == 0:
	case l.Files < fewFiles:
		x.find("descriptors-few", "%s may have %s open", of, human.Number(l.Files, "file"))
	case l.Files/2 < int64(l.Connections):
		x.find("descriptors-connections", "%s may have %s open: %s, and max-connections is %s", of,
			human.Number(l.Files, "file"), human.Number(l.Files/2, "connection"), human.Count(int64(l.Connections)))
	default:
		x.good("descriptors", "%s may have %s open", of, human.Number(l.Files, "file"))
	}
	switch {
	case l.Memory.Limit == 0:
	case l.Memory.Limit < smallMemory:
		x.find("memory-small", "%s for %s, by %s", human.Bytes(l.Memory.Limit), of, l.Memory.Source)
	default:
		x.good("memory", "%s for %s, by %s", human.Bytes(l.Memory.Limit), of, l.Memory.Source)
	}
}

// Bounds of clocks.
const (
	mayBeBehind = time.Minute
	mayJump     = 200 * time.Millisecond
)

// clock compares the clock with the last transaction and with a steady one.
func (x *examination) clock(begun time.Time, steady time.Duration) {
	now := x.o.Now()
	before := len(x.r.Findings)
	text := "the clock says " + human.FormatTime(now, time.UTC)
	if jump := now.Round(0).Sub(begun.Round(0)) - (x.o.Steady() - steady); jump.Abs() > mayJump {
		x.find("clock-jumped", "the clock went by %s more than the time that passed", round(jump))
	}
	if h := x.o.Home; h != nil && h.LastTID != 0 {
		last := h.LastTID.Time()
		if behind := last.Sub(now); behind > mayBeBehind {
			x.find("clock-behind", "the clock is %s behind the last transaction, of %s", round(behind), human.FormatTime(last, time.UTC))
		}
		text += ", after the last transaction, of " + human.FormatTime(last, time.UTC)
	}
	if x.o.Synchronised != nil {
		if yes, known := x.o.Synchronised(); known && !yes {
			x.find("clock-unsynchronised", "the clock is not synchronised")
		} else if known {
			text += "; it is synchronised"
		}
	}
	if len(x.r.Findings) == before {
		x.good("clock", "%s", text)
	}
}
