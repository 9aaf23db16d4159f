// A small vcsim: Debian packages govmomi's simulator as a library only (golang-github-vmware-govmomi-dev).
// It serves one host (-esx) or a vCenter with TLS on loopback; the account comes from the environment,
// certificate and key from the files that are its arguments.
package main

import (
	"crypto/tls"
	"flag"
	"fmt"
	"io"
	"log"
	"net/url"
	"os"

	"github.com/vmware/govmomi/simulator"
)

func main() {
	esx := flag.Bool("esx", false, "one host instead of a vCenter")
	flag.Parse()
	model := simulator.VPX()
	if *esx {
		model = simulator.ESX()
	}
	model.Machine = 1
	if err := model.Create(); err != nil {
		log.Fatal(err)
	}
	account := url.UserPassword(os.Getenv("VCSIM_USER"), os.Getenv("VCSIM_PASSWORD"))
	// The simulator's own certificate has a key of 1024 bits, which OpenSSL refuses.
	certificate, err := tls.LoadX509KeyPair(flag.Arg(0), flag.Arg(1))
	if err != nil {
		log.Fatal(err)
	}
	model.Service.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12}
	model.Service.Listen = &url.URL{Host: "127.0.0.1:0", User: account}
	server := model.Service.NewServer()
	fmt.Println(server.URL.Host)
	// It ends with whoever started it: then standard input is closed.
	_, _ = io.Copy(io.Discard, os.Stdin)
	model.Remove()
}
