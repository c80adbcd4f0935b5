package layout

// ProbeDir is the directory that a look at the place of a HOME (doctor, and serve at its start) makes
// in HOME, or in the directory for it, and removes at its end. If the look was killed, the next one
// removes it. It means nothing.
const ProbeDir = ".doctor"
