package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/rs/zerolog"
	"github.com/spf13/cobra"

	"github.com/weir-stream/weir/processor"
)

func (p program) describe() *cobra.Command {
	var mermaid, asJSON bool
	cmd := &cobra.Command{
		Use:   "describe",
		Short: "Show the plan: sub-topologies, operators, stores, topics",
		Args:  cobra.NoArgs,
		RunE: Action(func(cmd *cobra.Command, _ []string) error {
			plan, err := p.plan()
			if err != nil {
				return err
			}
			switch {
			case asJSON:
				return JSON(cmd.OutOrStdout(), plan.Describe())
			case mermaid:
				fmt.Fprint(cmd.OutOrStdout(), plan.Mermaid())
			default:
				fmt.Fprint(cmd.OutOrStdout(), plan.String())
			}
			return nil
		}),
	}
	cmd.Flags().BoolVar(&mermaid, "mermaid", false, "a flowchart for mermaid.js, which many viewers of Markdown draw")
	cmd.Flags().BoolVar(&asJSON, "json", false, "all that is known of the plan")
	cmd.MarkFlagsMutuallyExclusive("mermaid", "json")
	return cmd
}

func (p program) check() *cobra.Command {
	var c Connection
	var w workerFlags
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Look at what run needs, and change nothing",
		Long: `Look at what run needs, and change nothing: brokers and their version, timeouts, topics and partition counts,
and whether the plan fits the one that the application was born with.`,
		Args: cobra.NoArgs,
		RunE: Action(func(cmd *cobra.Command, _ []string) error {
			plan, err := p.plan()
			if err != nil {
				return err
			}
			opts, err := p.options(&c, &w)
			if err != nil {
				return err
			}
			ctx, stop := Signals(cmd.Context())
			defer stop()
			results, err := processor.Check(ctx, plan, append(opts, processor.Logger(zerolog.Nop()))...)
			if err != nil {
				return err
			}
			return ShowChecks(cmd.OutOrStdout(), results, asJSON)
		}),
	}
	c.Flags(cmd.Flags())
	w.add(cmd.Flags())
	cmd.Flags().BoolVar(&asJSON, "json", false, "one object per result")
	cmd.Flags().SortFlags = false
	return cmd
}

// ShowChecks writes the results of checks, one per line, and what to do below those that
// failed. It returns a Finding if one did, and the error if
// no broker could be reached.
func ShowChecks(to io.Writer, results []processor.CheckResult, asJSON bool) error {
	type result struct {
		Name   string   `json:"name"`
		OK     bool     `json:"ok"`
		Detail string   `json:"detail,omitempty"`
		Errors []string `json:"errors,omitempty"`
		Fixes  []string `json:"fixes,omitempty"`
	}
	bad := false
	var unreachable error
	list := []result{}
	for _, r := range results {
		one := result{Name: r.Name, OK: r.Err == nil, Detail: r.Detail}
		if r.Err != nil {
			bad = true
			if errors.Is(r.Err, processor.ErrUnreachable) {
				unreachable = r.Err
			}
			for _, s := range statements("", r.Err) {
				one.Errors = append(one.Errors, s.what)
				one.Fixes = append(one.Fixes, s.fix)
			}
		}
		list = append(list, one)
	}
	if asJSON {
		if err := JSON(to, map[string]any{"ok": !bad, "checks": list}); err != nil {
			return err
		}
	} else {
		for _, r := range list {
			mark := "ok  "
			if !r.OK {
				mark = "FAIL"
			}
			fmt.Fprintf(to, "%s  %-22s %s\n", mark, r.Name, r.Detail)
			for i := range r.Errors {
				fmt.Fprintf(to, "      %s\n", r.Errors[i])
				if r.Fixes[i] != "" {
					fmt.Fprintf(to, "      do: %s\n", r.Fixes[i])
				}
			}
		}
	}
	switch {
	case unreachable != nil:
		return unreachable // nothing was looked at
	case bad:
		return &Finding{}
	}
	return nil
}

// JSON writes a value, indented.
func JSON(to io.Writer, v any) error {
	e := json.NewEncoder(to)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return fmt.Errorf("write JSON: %w", err)
	}
	return nil
}
