// The parts of Kubernetes that accept, check and carry out what is asked of it, in one program for the tests: etcd, its API server and
// its controllers, each as Kubernetes releases it. There is no kubelet: tests/deploy/kubernetes/kubelet.py runs what the pods ask for.
//
//	control-plane etcd|kube-apiserver|kube-controller-manager [OPTIONS OF THAT PROGRAM]
package main

import (
	"fmt"
	"os"

	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllers "k8s.io/kubernetes/cmd/kube-controller-manager/app"
)

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: control-plane etcd|kube-apiserver|kube-controller-manager [OPTIONS]")
		os.Exit(2)
	}
	// Each reads its own options from here.
	os.Args = os.Args[1:]
	switch os.Args[0] {
	case "etcd":
		etcdmain.Main(os.Args)
	case "kube-apiserver":
		os.Exit(cli.Run(apiserver.NewAPIServerCommand()))
	case "kube-controller-manager":
		os.Exit(cli.Run(controllers.NewControllerManagerCommand()))
	default:
		fmt.Fprintf(os.Stderr, "expected etcd, kube-apiserver or kube-controller-manager, found %s\n", os.Args[0])
		os.Exit(2)
	}
}
