// Package lint holds tests that keep the shape of the project: which package
// may import which, that only internal/vfs touches files, that time comes from
// a clock in the options, that no package-level variable changes, and that no
// text of the repository depends on where it was written.
//
// The rules read the source as text and syntax, on every platform's files at
// once, and need no compiled packages. A rule that has to give way does so in
// one of the tables of this package's tests, with the reason beside it.
package lint
