package image

import (
	"encoding/binary"
	"io"
	"net"
	"runtime"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/sys/unix"
)

// inOwnNetwork does something in a network of its own, which has loopback and nothing else. Sockets that are opened and programs that
// are started by the calling goroutine are in it.
func inOwnNetwork(t *testing.T, do func(t *testing.T)) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		// Never unlocked: the thread ends with the goroutine, and with it the network.
		runtime.LockOSThread()
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			t.Errorf("no network of its own, which takes root: %v", err)
			return
		}
		socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
		if err != nil {
			t.Error(err)
			return
		}
		defer unix.Close(socket)
		loopback, err := unix.NewIfreq("lo")
		if err == nil {
			loopback.SetUint16(unix.IFF_UP)
			err = unix.IoctlIfreq(socket, unix.SIOCSIFFLAGS, loopback)
		}
		if err != nil {
			t.Error(err)
			return
		}
		do(t)
	}()
	<-done
}

// serveNames answers on port 53 of 127.0.0.1: names as given are 127.0.0.1, every other does not exist. For names in `large` an answer
// by UDP is cut, and whoever wants it has to come again by TCP.
func serveNames(t *testing.T, names, large map[string]bool) {
	answer := func(packet []byte, tcp bool) []byte {
		var question dnsmessage.Message
		if err := question.Unpack(packet); err != nil || len(question.Questions) != 1 {
			return nil
		}
		asked := question.Questions[0]
		name := asked.Name.String()
		reply := dnsmessage.Message{
			Header:    dnsmessage.Header{ID: question.ID, Response: true, RecursionDesired: true, RecursionAvailable: true},
			Questions: question.Questions,
		}
		switch {
		case large[name] && !tcp:
			reply.Truncated = true
		case names[name] || large[name]:
			if asked.Type == dnsmessage.TypeA {
				reply.Answers = []dnsmessage.Resource{{
					Header: dnsmessage.ResourceHeader{Name: asked.Name, Type: asked.Type, Class: asked.Class, TTL: 1},
					Body:   &dnsmessage.AResource{A: [4]byte{127, 0, 0, 1}},
				}}
			}
		default:
			reply.RCode = dnsmessage.RCodeNameError
		}
		packed, err := reply.Pack()
		if err != nil {
			return nil
		}
		return packed
	}
	udp, err := net.ListenPacket("udp", "127.0.0.1:53")
	check(t, err)
	t.Cleanup(func() { udp.Close() })
	tcp, err := net.Listen("tcp", "127.0.0.1:53")
	check(t, err)
	t.Cleanup(func() { tcp.Close() })
	go func() {
		packet := make([]byte, 4096)
		for {
			n, from, err := udp.ReadFrom(packet)
			if err != nil {
				return
			}
			if reply := answer(packet[:n], false); reply != nil {
				_, _ = udp.WriteTo(reply, from)
			}
		}
	}()
	go func() {
		for {
			connection, err := tcp.Accept()
			if err != nil {
				return
			}
			go func() {
				defer connection.Close()
				// Some ask for both kinds of address at once.
				for {
					var length uint16
					if binary.Read(connection, binary.BigEndian, &length) != nil {
						return
					}
					packet := make([]byte, length)
					if _, err := io.ReadFull(connection, packet); err != nil {
						return
					}
					reply := answer(packet, true)
					_ = binary.Write(connection, binary.BigEndian, uint16(len(reply)))
					_, _ = connection.Write(reply)
				}
			}()
		}
	}()
}
