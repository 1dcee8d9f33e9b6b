// Package admin looks at applications from outside, from any machine and without their
// plan: it reads the control topic, the committed positions with what is written beside
// them, and the group. By records in the control topic it asks for savepoints and stops
// applications; their files it reads and deletes where they lie. The weir command is made of
// it.
package admin
