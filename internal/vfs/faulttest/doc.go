// Package faulttest lets work on a file system go wrong at each of its operations,
// go on, and then cuts the power. The changes of an attempt that failed or was killed are in
// memory. The next attempt finds them there, and may take them for durable when they are not. So
// there are three classes of faults:
//
//   - cut ([Cut]): the power is cut before an operation.
//   - kill, go on, cut ([Killed]): the process dies before an operation, another one goes
//     on, and the power is cut when it is done or on the way.
//   - error, retry, cut ([Failed]): an operation fails, the work is repeated, and the power
//     is cut when it is done. A sync that fails loses the data that was not durable.
//
// A suite needs all three. A test with a check of its own for each fault has it at a sample of the operations by [Sampled], and
// [SampledOf] where cases share that: of each kind of operation there is one in each run.
package faulttest
