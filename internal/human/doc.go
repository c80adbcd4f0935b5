// Package human reads times that people type and prints times, sizes and
// numbers for people to read. Its functions are pure; the present time is always
// passed in.
//
// Times that people type decide which revisions pack deletes and a restore brings
// back. So only a few forms are accepted, each with one meaning, and everything else is refused.
package human
