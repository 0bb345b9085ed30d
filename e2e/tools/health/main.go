// Judges objects as Argo CD and Flux would. It reads objects on its standard input, one JSON text a line, and answers
// for each, one JSON text a line, what three judges say of it: the rules of kstatus, the Lua of an argocd-cm ConfigMap,
// and the healthCheckExprs of a Flux Kustomization.
//
// The libraries are those that Flux, Helm and Argo CD run themselves. What they decide is not decided here.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Verdict is what is said of one object. Where a judge failed, its word is `error: …`.
type Verdict struct {
	Kstatus     string `json:"kstatus"`
	Argo        string `json:"argo"`
	ArgoMessage string `json:"argoMessage"`
	Flux        string `json:"flux"`
}

func main() {
	argo := flag.String("argo", "", "a ConfigMap with keys as argocd-cm has them, in YAML")
	flux := flag.String("flux", "", "a Kustomization of Flux, in YAML")
	flag.Parse()
	if err := run(*argo, *flux, os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "health-judge:", err)
		os.Exit(1)
	}
}

func run(argoFile, fluxFile string, in io.Reader, out io.Writer) error {
	argo, err := readArgo(argoFile)
	if err != nil {
		return err
	}
	flux, err := readFlux(fluxFile)
	if err != nil {
		return err
	}
	lines := bufio.NewReader(in)
	answers := json.NewEncoder(out)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) > 1 {
			object := &unstructured.Unstructured{}
			if err := object.UnmarshalJSON(line); err != nil {
				return err
			}
			if err := answers.Encode(judge(object, argo, flux)); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func judge(object *unstructured.Unstructured, argo Argo, flux Flux) Verdict {
	var verdict Verdict
	if result, err := status.Compute(object); err != nil {
		verdict.Kstatus = "error: " + err.Error()
	} else {
		verdict.Kstatus = string(result.Status)
	}
	if health, err := argo.judge(object); err != nil {
		verdict.Argo = "error: " + err.Error()
	} else {
		verdict.Argo, verdict.ArgoMessage = health.Status, health.Message
	}
	if word, err := flux.judge(context.Background(), object); err != nil {
		verdict.Flux = "error: " + err.Error()
	} else {
		verdict.Flux = word
	}
	return verdict
}
