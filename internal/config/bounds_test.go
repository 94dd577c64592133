package config

import (
	"math"
	"strconv"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"
)

// bound is a number's range as the documentation tells it. It
// is written out here once more, so that a slip in the schema's table is seen.
type bound struct {
	min, max float64
	open     bool // min itself is outside
	whole    bool
}

var bounds = [...]map[string]bound{
	kindWAN: {
		"router.port":                       {min: 1, max: 65535, whole: true},
		"qdisc.overhead":                    {min: -64, max: 256, whole: true},
		"qdisc.mpu":                         {max: 256, whole: true},
		"continuous_monitoring.interval_ms": {min: 50, max: 60000, whole: true},
		"continuous_monitoring.baseline_rtt_initial":                    {min: 1, max: 500},
		"continuous_monitoring.baseline_rtt_bounds.min":                 {max: 10000, open: true},
		"continuous_monitoring.baseline_rtt_bounds.max":                 {max: 10000, open: true},
		"continuous_monitoring.download.floor_mbps":                     {max: 100000, open: true},
		"continuous_monitoring.download.floor_green_mbps":               {max: 100000, open: true},
		"continuous_monitoring.download.floor_yellow_mbps":              {max: 100000, open: true},
		"continuous_monitoring.download.floor_soft_red_mbps":            {max: 100000, open: true},
		"continuous_monitoring.download.floor_red_mbps":                 {max: 100000, open: true},
		"continuous_monitoring.download.ceiling_mbps":                   {max: 100000, open: true},
		"continuous_monitoring.download.base_mbps":                      {max: 100000, open: true},
		"continuous_monitoring.download.min_mbps":                       {max: 100000, open: true},
		"continuous_monitoring.download.max_mbps":                       {max: 100000, open: true},
		"continuous_monitoring.download.step_up_mbps":                   {min: 0.1, max: 1000},
		"continuous_monitoring.download.factor_down":                    {min: 0.1, max: 1},
		"continuous_monitoring.download.factor_down_yellow":             {min: 0.1, max: 1},
		"continuous_monitoring.upload.floor_mbps":                       {max: 100000, open: true},
		"continuous_monitoring.upload.floor_green_mbps":                 {max: 100000, open: true},
		"continuous_monitoring.upload.floor_yellow_mbps":                {max: 100000, open: true},
		"continuous_monitoring.upload.floor_soft_red_mbps":              {max: 100000, open: true},
		"continuous_monitoring.upload.floor_red_mbps":                   {max: 100000, open: true},
		"continuous_monitoring.upload.ceiling_mbps":                     {max: 100000, open: true},
		"continuous_monitoring.upload.base_mbps":                        {max: 100000, open: true},
		"continuous_monitoring.upload.min_mbps":                         {max: 100000, open: true},
		"continuous_monitoring.upload.max_mbps":                         {max: 100000, open: true},
		"continuous_monitoring.upload.step_up_mbps":                     {min: 0.1, max: 1000},
		"continuous_monitoring.upload.factor_down":                      {min: 0.1, max: 1},
		"continuous_monitoring.upload.factor_down_yellow":               {min: 0.1, max: 1},
		"continuous_monitoring.upload.target_bloat_ms":                  {min: 0.5, max: 1000},
		"continuous_monitoring.upload.warn_bloat_ms":                    {min: 0.5, max: 1000},
		"continuous_monitoring.thresholds.target_bloat_ms":              {min: 0.5, max: 1000},
		"continuous_monitoring.thresholds.warn_bloat_ms":                {min: 0.5, max: 1000},
		"continuous_monitoring.thresholds.critical_bloat_ms":            {min: 0.5, max: 1000},
		"continuous_monitoring.thresholds.hard_red_bloat_ms":            {min: 0.5, max: 1000},
		"continuous_monitoring.thresholds.alpha_baseline":               {min: 0.001, max: 1},
		"continuous_monitoring.thresholds.alpha_load":                   {min: 0.01, max: 1},
		"continuous_monitoring.thresholds.baseline_update_threshold_ms": {max: 1000, open: true},
		"continuous_monitoring.thresholds.baseline_rtt_bounds.min":      {max: 10000, open: true},
		"continuous_monitoring.thresholds.baseline_rtt_bounds.max":      {max: 10000, open: true},
		"continuous_monitoring.cut_interval_ms":                         {max: 60000, whole: true},
		"continuous_monitoring.rebaseline_after_s":                      {min: 5, max: 600},
		"continuous_monitoring.ping_count":                              {min: 1, max: 20, whole: true},
		"continuous_monitoring.ping_fwmark":                             {min: 1, max: math.MaxUint32, whole: true},
		"continuous_monitoring.tcp_check_port":                          {min: 1, max: 65535, whole: true},
		"ping_fwmark":                                                   {min: 1, max: math.MaxUint32, whole: true},
		"timeouts.ssh_command":                                          {min: 0.1, max: 300},
		"timeouts.ping":                                                 {min: 0.05, max: 10},
		"logging.max_bytes":                                             {min: 0, max: 1e11, whole: true},
		"logging.backup_count":                                          {min: 0, max: 100, whole: true},
		"journal.segment_mb":                                            {min: 1, max: 1024, whole: true},
		"journal.keep_segments":                                         {min: 2, max: 1000, whole: true},
	},
	kindSteering: {
		"logging.max_bytes":                                {min: 0, max: 1e11, whole: true},
		"logging.backup_count":                             {min: 0, max: 100, whole: true},
		"router.port":                                      {min: 1, max: 65535, whole: true},
		"alternate.margin_ms":                              {max: 10000},
		"alternate.margin_share":                           {max: 1},
		"alternate.max_load":                               {max: 1},
		"traffic_classes.together_minutes":                 {max: 120},
		"alternate.room_mbps":                              {max: 100000},
		"lines.*.table":                                    {min: 1, max: math.MaxUint32, whole: true},
		"policy.rule_priority":                             {min: 1, max: 32763, whole: true},
		"alternates.*.margin_ms":                           {max: 10000},
		"alternates.*.margin_share":                        {max: 1},
		"alternates.*.max_load":                            {max: 1},
		"alternates.*.room_mbps":                           {max: 100000},
		"measurement.interval_seconds":                     {min: 0.5, max: 60},
		"measurement.ping_count":                           {min: 1, max: 20, whole: true},
		"measurement.ping_fwmark":                          {min: 1, max: math.MaxUint32, whole: true},
		"thresholds.green_rtt_ms":                          {max: 10000, open: true},
		"thresholds.yellow_rtt_ms":                         {max: 10000, open: true},
		"thresholds.red_rtt_ms":                            {max: 10000, open: true},
		"thresholds.min_drops_red":                         {max: 1000, open: true},
		"thresholds.min_queue_yellow":                      {max: 1000000, open: true},
		"thresholds.min_queue_red":                         {max: 1000000, open: true},
		"thresholds.rtt_ewma_alpha":                        {max: 1, open: true},
		"thresholds.queue_ewma_alpha":                      {max: 1, open: true},
		"thresholds.red_samples_required":                  {min: 1, max: 1000, whole: true},
		"thresholds.green_samples_required":                {min: 1, max: 1000, whole: true},
		"thresholds.bad_threshold_ms":                      {max: 10000, open: true},
		"thresholds.recovery_threshold_ms":                 {max: 10000, open: true},
		"thresholds.bad_samples":                           {min: 1, max: 1000, whole: true},
		"thresholds.good_samples":                          {min: 1, max: 1000, whole: true},
		"thresholds.baseline_rtt_bounds.min":               {max: 10000, open: true},
		"thresholds.baseline_rtt_bounds.max":               {max: 10000, open: true},
		"confirm.queue_delay_ms":                           {max: 10000},
		"confirm.loss_percent":                             {max: 100},
		"limits.hold_down_seconds":                         {max: 86400},
		"limits.autorate_grace_seconds":                    {max: 86400},
		"limits.steered_max_hours":                         {max: 672},
		"flap_brake.window_minutes":                        {max: 1440, open: true},
		"flap_brake.max_toggles":                           {min: 1, max: 1000, whole: true},
		"flap_brake.penalty_seconds":                       {max: 86400},
		"flap_brake.red_factor":                            {min: 1, max: 100, whole: true},
		"flap_brake.margin_factor":                         {min: 1, max: 100, whole: true},
		"herd_damping.within_seconds":                      {max: 86400},
		"herd_damping.backoff_minutes":                     {max: 1440, open: true},
		"herd_damping.backoff_max_minutes":                 {max: 1440, open: true},
		"state.history_size":                               {min: 1, max: 10000, whole: true},
		"steering_v3.confidence.steer_threshold":           {min: 1, max: 100, whole: true},
		"steering_v3.confidence.recovery_threshold":        {max: 100, whole: true},
		"steering_v3.confidence.sustain_duration_sec":      {max: 86400},
		"steering_v3.confidence.recovery_sustain_sec":      {max: 86400},
		"steering_v3.timers.hold_down_duration_sec":        {max: 86400},
		"steering_v3.flap_detection.window_minutes":        {max: 1440, open: true},
		"steering_v3.flap_detection.max_toggles":           {min: 1, max: 1000, whole: true},
		"steering_v3.flap_detection.penalty_threshold_add": {max: 100, whole: true},
		"steering_v3.flap_detection.penalty_duration_sec":  {max: 86400},
		"timeouts.ssh_command":                             {min: 0.1, max: 300},
		"timeouts.ping":                                    {min: 0.05, max: 10},
		"timeouts.ping_total":                              {min: 0.1, max: 60},
	},
}

// with returns a config in which the key has the value, and nothing else is changed.
func with(t *testing.T, text, path, value string) string {
	t.Helper()
	var doc yaml.Node
	if err := yaml.Unmarshal([]byte(text), &doc); err != nil {
		t.Fatal(err)
	}
	n := doc.Content[0]
	parts := strings.Split(path, ".")
	for i, part := range parts {
		var child *yaml.Node
		for k := 0; k+1 < len(n.Content); k += 2 {
			if n.Content[k].Value == part {
				child = n.Content[k+1]
			}
		}
		if child == nil {
			child = &yaml.Node{Kind: yaml.MappingNode}
			n.Content = append(n.Content, &yaml.Node{Kind: yaml.ScalarNode, Value: part}, child)
		}
		if i == len(parts)-1 {
			*child = yaml.Node{Kind: yaml.ScalarNode, Value: value}
		}
		n = child
	}
	out, err := yaml.Marshal(&doc)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// refusal is what the parser says of the value itself, empty for none. How it stands to other keys does not count.
func refusal(t *testing.T, kind int, path string, value float64) string {
	t.Helper()
	text := [...]string{kindWAN: legacy, kindSteering: steeringText}[kind]
	number := strconv.FormatFloat(value, 'f', -1, 64)
	_, ds := Parse("line.yaml", strings.NewReader(with(t, text, path, number)), Options{})
	for _, d := range ds.Errors() {
		for _, of := range []string{" is outside ", "found ", "finite", "less than one bit/s"} {
			if strings.Contains(d.Message, of) || d.Key == "" {
				return d.String()
			}
		}
	}
	return ""
}

// TestBounds walks every number of both kinds of config: its least and its greatest value are taken, what lies just
// outside is refused at its own place, on both sides.
func TestBounds(t *testing.T) {
	for kind, schema := range schemas {
		numbers := 0
		for _, k := range schema {
			if k.typ != typeNumber && k.typ != typeInteger || k.ignored != "" {
				continue
			}
			numbers++
			b, ok := bounds[kind][k.path]
			if !ok {
				t.Errorf("%s has no bounds in this test", k.path)
				continue
			}
			if b.whole != (k.typ == typeInteger) {
				t.Errorf("%s: whole numbers only is %v, want %v", k.path, !b.whole, b.whole)
			}
			step := func(f float64) float64 { return max(math.Abs(f), 1) * 1e-9 }
			if b.whole {
				step = func(float64) float64 { return 1 }
			}
			least, under := b.min, b.min-step(b.min)
			if b.open {
				least, under = b.min+1e-6, b.min
			}
			for _, v := range []float64{least, b.max} {
				if why := refusal(t, kind, k.path, v); why != "" {
					t.Errorf("%s: %v is refused: %s", k.path, v, why)
				}
			}
			for _, v := range []float64{under, b.max + step(b.max), -1e12, 1e12} {
				if why := refusal(t, kind, k.path, v); !strings.Contains(why, k.path+": ") || !strings.Contains(why, " is outside ") {
					t.Errorf("%s: %v is taken: %q", k.path, v, why)
				}
			}
			if b.whole {
				if why := refusal(t, kind, k.path, b.min+0.5); !strings.Contains(why, "want a whole number") {
					t.Errorf("%s: %v is taken: %q", k.path, b.min+0.5, why)
				}
			}
		}
		if numbers != len(bounds[kind]) {
			t.Errorf("kind %d: %d numbers in the schema, %d in this test", kind, numbers, len(bounds[kind]))
		}
	}
}
