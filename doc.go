// Package dirstorage is a storage for ZODB databases that keeps one ordinary
// file for each revision of each object below HOME/A.
package dirstorage
