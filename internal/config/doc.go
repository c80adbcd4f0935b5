// Package config puts together the settings of dirstorage serve.
//
// Each setting has one name. It is the flag (--max-message), the key in the TOML
// file (max-message), and, in capitals and with _ for -, the environment variable
// (DIRSTORAGE_MAX_MESSAGE). One table has them all: flags, checks, help, sample
// and document are made from it or compared with it.
//
// Of the places that give a setting the first of these counts: flag,
// environment, TOML file, zeo.conf, default. Values are not merged: a list that
// a flag gives replaces the list of the file. Each value knows where it is from, and each error
// names the fault, its place and a remedy.
//
//	conf, err := config.Load(flags, home, os.Getenv, vfs.ReadFile)
//
// The package touches no files: they are read by the function that Load gets.
package config
