// Package handover lets a new process take the listening sockets of one that is running, and then has the old one stop
// accepting, so that no connection is refused or lost in between.
//
// The two meet at a unix socket, which only processes of the same user may use. The new process calls Open, which gives
// it a Post: with the sockets of the process that has the post so far, or with none, if there is no such process. When
// it is ready to accept it calls Relieve, and from then on it keeps the post: Keep waits for its own successor. Until
// Relieve nothing has changed for the old process; if the new one fails, or dies, the old one goes on. If the old one
// dies the new one has the sockets, and the post.
//
// Send and Receive are for processes that have a connection of their own, to tell each other what they like and pass
// descriptors.
//
// Goroutines: none is started. Every method of a Post is called by one goroutine at a time.
//
// May import: nothing of ours.
package handover
