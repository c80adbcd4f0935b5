package bundled

import "testing"

// TestFramesThatAreReadAgainAreKept: a frame is kept from the second time on, as it was, and reads
// by chance push nothing out.
func TestFramesThatAreReadAgainAreKept(t *testing.T) {
	t.Parallel()
	var c frameCache
	a, b := new(opened), new(opened)
	plain := []byte("frame")
	if got, wanted := c.get(a, 100); got != nil || wanted {
		t.Errorf("the first time: %q, %t", got, wanted)
	}
	if got, wanted := c.get(b, 100); got != nil || wanted {
		t.Errorf("of another bundle: %q, %t", got, wanted)
	}
	if got, wanted := c.get(a, 100); got != nil || !wanted {
		t.Errorf("the second time: %q, %t", got, wanted)
	}
	c.put(a, 100, plain)
	plain[0] = 'x'
	for offset := range int64(10 * askedFrames) {
		if _, wanted := c.get(b, 1000+offset); wanted {
			t.Errorf("a frame that was read once, at %d, is wanted", offset)
		}
	}
	if got, _ := c.get(a, 100); string(got) != "frame" {
		t.Errorf("kept: %q", got)
	}
	for offset := range int64(cachedFrames) {
		c.put(b, offset, plain)
	}
	if got, _ := c.get(a, 100); got != nil {
		t.Errorf("it is there after %d others: %q", cachedFrames, got)
	}
	large := make([]byte, keptBuffer+1)
	c.put(b, 1, large)
	if got, _ := c.get(b, 1); len(got) > keptBuffer {
		t.Errorf("a frame of %d bytes was kept", len(got))
	}
}
