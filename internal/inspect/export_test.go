package inspect

// Diff is diff, for tests.
var Diff = diff
