// Package admin looks at applications from outside, from any machine and without their
// plan: it reads the control topic, the committed positions with what is written beside
// them, and the group. The weir command is made of it.
package admin
