// A cable that takes its time: passes every frame between two network devices, each way after a fixed delay.
//
// Kernels are often built without the network emulator; raw packet sockets are everywhere. Frames keep the
// kernel's offload header, so that large and not yet summed ones pass as they are.
package main

import (
	"fmt"
	"net"
	"os"
	"syscall"
	"time"
)

const (
	// From linux/if_packet.h: frames carry a virtio_net_hdr in front.
	packetVnetHdr = 15
	// The largest frame with offload, and its header.
	longest = 1<<16 + 128
	// How many frames may be under way; more are lost, as on any cable.
	capacity = 1 << 14
)

type frame struct {
	due  time.Time
	data []byte
}

func networkOrder(value uint16) uint16 { return value<<8 | value>>8 }

func open(name string) (int, error) {
	device, err := net.InterfaceByName(name)
	if err != nil {
		return 0, err
	}
	protocol := networkOrder(syscall.ETH_P_ALL)
	socket, err := syscall.Socket(syscall.AF_PACKET, syscall.SOCK_RAW, int(protocol))
	if err != nil {
		return 0, err
	}
	if err := syscall.SetsockoptInt(socket, syscall.SOL_PACKET, packetVnetHdr, 1); err != nil {
		return 0, err
	}
	address := syscall.SockaddrLinklayer{Protocol: protocol, Ifindex: device.Index}
	return socket, syscall.Bind(socket, &address)
}

func receive(socket int, delay time.Duration, queue chan<- frame) error {
	buffer := make([]byte, longest)
	for {
		length, from, err := syscall.Recvfrom(socket, buffer, 0)
		if err == syscall.EINTR || err == syscall.ENETDOWN {
			continue
		}
		if err != nil {
			return err
		}
		// What the other direction sent out here comes back as well.
		if link, ok := from.(*syscall.SockaddrLinklayer); ok && link.Pkttype == syscall.PACKET_OUTGOING {
			continue
		}
		select {
		case queue <- frame{time.Now().Add(delay), append([]byte(nil), buffer[:length]...)}:
		default:
		}
	}
}

func send(socket int, queue <-chan frame) {
	for next := range queue {
		time.Sleep(time.Until(next.due))
		// A frame that cannot be sent is a lost frame.
		_, _ = syscall.Write(socket, next.data)
	}
}

func run(near, far, amount string) error {
	delay, err := time.ParseDuration(amount)
	if err != nil {
		return err
	}
	sockets := [2]int{}
	for index, name := range []string{near, far} {
		if sockets[index], err = open(name); err != nil {
			return fmt.Errorf("opening %s: %w", name, err)
		}
	}
	ended := make(chan error)
	for index := range sockets {
		queue := make(chan frame, capacity)
		go send(sockets[1-index], queue)
		go func() { ended <- receive(sockets[index], delay, queue) }()
	}
	return <-ended
}

func main() {
	if len(os.Args) != 4 {
		fmt.Fprintln(os.Stderr, "usage: delay DEVICE DEVICE DURATION")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2], os.Args[3]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
