// Package errfs is a file system for tests that fails where it is told to: it
// asks a function before each operation of another one, and returns its error.
//
// A sync that fails is reported to an inner crashfs, which then loses the data that the kernel
// would lose.
package errfs
