package main

import (
	"context"
	"fmt"
	"os"

	"github.com/fluxcd/pkg/apis/kustomize"
	"github.com/fluxcd/pkg/runtime/cel"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"
)

// Flux holds the evaluator of each kind that a Kustomization has expressions for.
type Flux map[schema.GroupVersionKind]*cel.StatusEvaluator

func readFlux(file string) (Flux, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var kustomization struct {
		Spec struct {
			HealthCheckExprs []kustomize.CustomHealthCheck `json:"healthCheckExprs"`
		} `json:"spec"`
	}
	if err := yaml.Unmarshal(text, &kustomization); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	flux := Flux{}
	for _, check := range kustomization.Spec.HealthCheckExprs {
		evaluator, err := cel.NewStatusEvaluator(&check.HealthCheckExpressions)
		if err != nil {
			return nil, fmt.Errorf("%s: %s: %w", file, check.Kind, err)
		}
		flux[schema.FromAPIVersionAndKind(check.APIVersion, check.Kind)] = evaluator
	}
	return flux, nil
}

func (flux Flux) judge(ctx context.Context, object *unstructured.Unstructured) (string, error) {
	evaluator, found := flux[object.GroupVersionKind()]
	if !found {
		return "", fmt.Errorf("no expressions for %s", object.GroupVersionKind())
	}
	result, err := evaluator.Evaluate(ctx, object)
	if err != nil {
		return "", err
	}
	return string(result.Status), nil
}
