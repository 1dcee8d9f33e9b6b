// Package cli makes a program its own runner:
//
//	func main() { cli.Main(WordCount) }
//
//	app run       process until SIGTERM or SIGINT, which commit what is done and end it
//	app rewind    go back to a savepoint or checkpoint, which run --from does as well
//	app describe  what Build made: as text, as a drawing in Mermaid, as JSON
//	app check     brokers, rights, topics and the stored plan, as run would; changes nothing
//
// Everything that needs no plan (status, doctor) is the weir command.
//
// Results go to standard output. Errors go to standard error, with a hint where a person
// can do something. Exit codes:
//
//	0  done
//	1  looked, and found something wrong: a check that failed, a plan that does not build
//	2  the command line is wrong
//	3  could not do it: brokers out of reach, a worker that had to stop, files
package cli
