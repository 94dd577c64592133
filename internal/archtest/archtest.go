// Package archtest holds the tests that keep the house as its plan says: who may import whom, that every package says
// its duty, and that nothing outgrows its room.
package archtest
