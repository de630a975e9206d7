// A relay as one writes it in Go: go-relay LISTEN TARGET. io.Copy(3) splices between TCP connections on Linux.
package main

import (
	"io"
	"log"
	"net"
	"os"
)

func main() {
	listener, err := net.Listen("tcp", os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	for {
		client, err := listener.Accept()
		if err != nil {
			log.Print(err)
			continue
		}
		go serve(client.(*net.TCPConn), os.Args[2])
	}
}

func serve(client *net.TCPConn, address string) {
	defer client.Close()
	connection, err := net.Dial("tcp", address)
	if err != nil {
		return
	}
	target := connection.(*net.TCPConn)
	defer target.Close()
	done := make(chan struct{})
	go func() {
		io.Copy(target, client)
		target.CloseWrite()
		close(done)
	}()
	io.Copy(client, target)
	client.CloseWrite()
	<-done
}
