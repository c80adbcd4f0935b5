package zeo

const serverEnv = "DIRSTORAGE_TEST_SERVER"

func serveUntilKilled(home string) int { return 1 }
