// Package errfs is a file system for tests that fails where it is told to: it
// asks a function before each operation of another one, and returns its error.
//
// A sync that fails is told to an inner crashfs, which loses then what the kernel
// would lose.
package errfs
